import { X } from "lucide-react";
import { useEffect, useId, useRef } from "react";
import type { ReactNode } from "react";
import { Button } from "./Button";

interface DialogProps {
  title: ReactNode;
  onClose: () => void;
  children: ReactNode;
  wide?: boolean;
  /** "full": as wide as the screen. */
  size?: "full";
}

/** A modal on the browser's own dialog element: focus is kept inside and given back by it. */
export function Dialog({ title, onClose, children, wide = false, size }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog || dialog.open) return;
    dialog.showModal();
    // It would focus the first element that can be; the harmless one is meant.
    dialog.querySelector<HTMLElement>("[data-focus]")?.focus();
  }, []);
  return (
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-noninteractive-element-interactions -- a click on the backdrop closes it; Escape does so by itself
    <dialog
      ref={ref}
      aria-labelledby={heading}
      onClose={onClose}
      onClick={(event) => event.target === event.currentTarget && onClose()}
      className={`panel max-h-[90dvh] w-full overflow-auto p-0 shadow-xl ${size === "full" ? "max-w-[96vw]" : wide ? "max-w-3xl" : "max-w-lg"}`}
    >
      <div className="p-4">
        <div className="mb-3 flex items-start gap-3">
          <h2 id={heading} className="flex-1 font-semibold">
            {title}
          </h2>
          <Button kind="quiet" small aria-label="Close" onClick={onClose}>
            <X aria-hidden className="size-4" />
          </Button>
        </div>
        {children}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  consequence: ReactNode;
  action: string;
  danger?: boolean;
  busy?: boolean;
  error?: ReactNode;
  onConfirm: () => void;
  onClose: () => void;
  children?: ReactNode;
}

/** Confirmation dialog that states the consequence. Focus starts on the button that changes nothing. */
export function ConfirmDialog({
  title,
  consequence,
  action,
  danger = false,
  busy = false,
  error,
  onConfirm,
  onClose,
  children,
}: ConfirmProps) {
  return (
    <Dialog title={title} onClose={onClose}>
      <p className="text-sm">{consequence}</p>
      {children}
      {error && <div className="mt-3">{error}</div>}
      <div className="mt-4 flex justify-end gap-2">
        <Button data-focus onClick={onClose}>
          Go back
        </Button>
        <Button kind={danger ? "danger" : "primary"} disabled={busy} onClick={onConfirm}>
          {action}
        </Button>
      </div>
    </Dialog>
  );
}
