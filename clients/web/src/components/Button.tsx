import clsx from "clsx";
import type { ButtonHTMLAttributes } from "react";

type Kind = "plain" | "primary" | "danger" | "quiet";

const LOOKS: Record<Kind, string> = {
  plain: "border border-strong-line bg-panel hover:bg-hover",
  primary: "border border-accent bg-accent text-on-accent hover:opacity-90",
  danger: "border border-bad bg-panel text-bad hover:bg-bad-soft",
  quiet: "border border-transparent text-muted hover:bg-hover hover:text-ink",
};

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: Kind;
  small?: boolean;
}

export function Button({ kind = "plain", small = false, className, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      className={clsx(
        "inline-flex shrink-0 items-center justify-center gap-1.5 rounded-md font-medium whitespace-nowrap transition-colors disabled:opacity-50",
        small ? "min-h-7 px-2 text-xs" : "min-h-8 px-3 text-sm",
        LOOKS[kind],
        className,
      )}
      {...rest}
    />
  );
}

/** A small button that is on or off, and says so to screen readers. */
export function Toggle({ on, ...rest }: Omit<ButtonProps, "kind" | "small"> & { on: boolean }) {
  return <Button small aria-pressed={on} kind={on ? "primary" : "plain"} {...rest} />;
}

/** The look of a button on a link. */
export function buttonLook(kind: Kind = "plain", small = false): string {
  return clsx(
    "inline-flex shrink-0 items-center justify-center gap-1.5 rounded-md font-medium whitespace-nowrap",
    small ? "min-h-7 px-2 text-xs" : "min-h-8 px-3 text-sm",
    LOOKS[kind],
  );
}
