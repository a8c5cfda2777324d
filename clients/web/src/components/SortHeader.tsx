import clsx from "clsx";
import { ArrowDown, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";
import { pressed } from "@/model/table";
import type { Sort } from "@/model/table";

interface Props {
  name: string;
  sort: Sort | undefined;
  onSort: (sort: Sort) => void;
  /** Greatest first with the first press: for numbers and times. */
  firstDown?: boolean;
  right?: boolean;
  title?: string | undefined;
  className?: string;
  children: ReactNode;
}

/** Head of a column that sorts the table: a button that says so to screen readers. */
export function SortHeader({
  name,
  sort,
  onSort,
  firstDown = false,
  right = false,
  title,
  className,
  children,
}: Props) {
  const on = sort?.key === name;
  const Arrow = on && sort.down ? ArrowDown : ArrowUp;
  return (
    <th
      aria-sort={on ? (sort.down ? "descending" : "ascending") : undefined}
      className={clsx(right && "text-right", className)}
    >
      <button
        type="button"
        title={title}
        onClick={() => onSort(pressed(sort, name, firstDown))}
        className={clsx(
          "group inline-flex min-h-6 items-center gap-0.5 font-medium whitespace-nowrap hover:text-ink",
          on && "text-ink",
        )}
      >
        {children}
        <Arrow aria-hidden className={clsx("size-3", !on && "opacity-0 group-hover:opacity-60")} />
      </button>
    </th>
  );
}
