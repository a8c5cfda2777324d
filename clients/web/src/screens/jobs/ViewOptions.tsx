import { Bookmark, Columns3, Trash2 } from "lucide-react";
import { useState } from "react";
import { Button } from "@/components/Button";
import { Dialog } from "@/components/Dialog";
import { chosenColumns } from "@/model/table";
import { COLUMNS, ORDERS, USUAL } from "./columns";
import type { JobsSearch } from "./filter";
import { isView, keepViews, savedViews, withView } from "./views";

interface Props {
  search: JobsSearch;
  go: (search: JobsSearch) => void;
}

/** Order (on a phone), columns and saved views of the jobs list. */
export function ViewOptions({ search, go }: Props) {
  const [open, setOpen] = useState<"columns" | "views" | null>(null);
  const [views, setViews] = useState(savedViews);
  const shown = views.find((view) => isView(view, search));
  return (
    <div className="flex flex-wrap items-center gap-1.5">
      <select
        aria-label="Sort by"
        className="field min-h-7 w-auto py-0 text-xs sm:hidden"
        value={search.sort ?? ""}
        onChange={(event) => go({ ...search, sort: event.target.value })}
      >
        {ORDERS.map((order) => (
          <option key={order.sort} value={order.sort}>
            {order.title}
          </option>
        ))}
      </select>
      <Button small className="max-sm:hidden" onClick={() => setOpen("columns")}>
        <Columns3 aria-hidden className="size-3.5" /> Columns
      </Button>
      <Button small onClick={() => setOpen("views")}>
        <Bookmark aria-hidden className="size-3.5" /> {shown ? shown.name : "Saved views"}
      </Button>
      {open === "columns" && <ColumnsDialog search={search} go={go} onClose={() => setOpen(null)} />}
      {open === "views" && (
        <ViewsDialog
          search={search}
          views={views}
          onViews={(next) => {
            keepViews(next);
            setViews(next);
          }}
          go={(next) => {
            setOpen(null);
            go(next);
          }}
          onClose={() => setOpen(null)}
        />
      )}
    </div>
  );
}

function ColumnsDialog({ search, go, onClose }: Props & { onClose: () => void }) {
  const names = COLUMNS.map((one) => one.name);
  const chosen = chosenColumns(search.cols, names, USUAL);
  const set = (next: readonly string[]) => {
    const usual = names.filter((name) => next.includes(name)).join() === USUAL.join();
    go({ ...search, cols: usual ? "" : next.join(",") });
  };
  return (
    <Dialog title="Columns" onClose={onClose}>
      <fieldset className="grid grid-cols-2 gap-x-4 gap-y-1 text-sm">
        <legend className="sr-only">Columns of the list</legend>
        {COLUMNS.filter((one) => one.name !== "job").map((one) => (
          <label key={one.name} className="flex min-h-7 items-center gap-2" title={one.about}>
            <input
              type="checkbox"
              className="size-4"
              checked={chosen.includes(one.name)}
              onChange={(event) =>
                set(event.target.checked ? [...chosen, one.name] : chosen.filter((name) => name !== one.name))
              }
            />
            {one.title}
          </label>
        ))}
      </fieldset>
      <div className="mt-4 flex justify-end gap-2">
        <Button onClick={() => set(USUAL)}>Usual columns</Button>
        <Button kind="primary" data-focus onClick={onClose}>
          Done
        </Button>
      </div>
    </Dialog>
  );
}

function ViewsDialog({
  search,
  views,
  onViews,
  go,
  onClose,
}: Props & {
  views: ReturnType<typeof savedViews>;
  onViews: (views: ReturnType<typeof savedViews>) => void;
  onClose: () => void;
}) {
  const [name, setName] = useState("");
  const plain = Object.values(search).every((value) => !value);
  return (
    <Dialog title="Saved views" onClose={onClose}>
      <p className="mb-3 text-sm text-muted">
        A view is a filter with its order and columns. It is kept in this browser; its address can be sent to
        others.
      </p>
      {views.length > 0 && (
        <ul className="mb-4 divide-y divide-line text-sm">
          {views.map((view) => (
            <li key={view.name} className="flex items-center gap-2 py-1">
              <Button
                kind="quiet"
                small
                className="min-w-0 flex-1 justify-start!"
                onClick={() => go(view.search)}
              >
                <span className="truncate text-accent underline">{view.name}</span>
              </Button>
              <Button
                kind="quiet"
                small
                aria-label={`Delete the view ${view.name}`}
                onClick={() => onViews(views.filter((one) => one.name !== view.name))}
              >
                <Trash2 aria-hidden className="size-3.5" />
              </Button>
            </li>
          ))}
        </ul>
      )}
      <form
        className="flex items-end gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim() === "") return;
          onViews(withView(views, { name: name.trim(), search }));
          setName("");
        }}
      >
        <label className="flex flex-1 flex-col gap-1 text-sm">
          Save what is shown now as
          <input
            data-focus
            className="field"
            maxLength={60}
            value={name}
            placeholder={plain ? "all jobs" : "my failed runs"}
            onChange={(event) => setName(event.target.value)}
          />
        </label>
        <Button type="submit" kind="primary" disabled={name.trim() === ""}>
          Save
        </Button>
      </form>
    </Dialog>
  );
}
