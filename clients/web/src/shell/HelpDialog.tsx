import { Dialog } from "@/components/Dialog";
import { keysAreOn } from "@/keys/useActions";
import { useAllActions } from "@/keys/useActions";

/** List of the keyboard shortcuts of the current screen. */
export function HelpDialog({ onClose }: { onClose: () => void }) {
  const actions = useAllActions().filter((a) => a.keys);
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      {!keysAreOn() && (
        <p className="mb-2 text-sm text-warn">
          Single-key shortcuts are off in Settings; Ctrl-K still works.
        </p>
      )}
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1.5 text-sm">
        {actions.map((action) => (
          <div key={`${action.keys}${action.label}`} className="contents">
            <dt className="text-right">
              {action.keys?.split(" ").map((key) => (
                <Key key={key} name={key} />
              ))}
            </dt>
            <dd>{action.label}</dd>
          </div>
        ))}
        <dt className="text-right">
          <Key name="Ctrl-K" />
        </dt>
        <dd>All actions</dd>
      </dl>
    </Dialog>
  );
}

export function Key({ name }: { name: string }) {
  return <kbd className="ml-1 rounded border border-line bg-sunken px-1.5 py-0.5 text-xs">{name}</kbd>;
}
