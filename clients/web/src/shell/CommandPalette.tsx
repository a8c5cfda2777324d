import { useNavigate } from "@tanstack/react-router";
import { useId, useState } from "react";
import { Dialog } from "@/components/Dialog";
import { useAllActions } from "@/keys/useActions";
import { Key } from "./HelpDialog";

/** Command palette (Ctrl-K): finds the screen's actions by name; a number goes to that job. */
export function CommandPalette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const words = text.toLowerCase().trim();
  const found = useAllActions().filter((a) => a.label.toLowerCase().includes(words));
  const number = /^#?(\d+)$/.exec(words)?.[1];
  const offered = number
    ? [
        {
          label: `Go to job ${number}`,
          keys: undefined,
          run: () => void navigate({ to: "/jobs/$jobId", params: { jobId: number } }),
        },
        ...found,
      ]
    : found;
  const choose = (index: number) => {
    onClose();
    offered[index]?.run();
  };
  return (
    <Dialog title="Actions" onClose={onClose}>
      <input
        data-focus
        role="combobox"
        aria-expanded
        aria-controls={list}
        aria-activedescendant={offered.length > 0 ? `${list}-${at}` : undefined}
        aria-label="Find an action or a job number"
        value={text}
        className="field mb-2"
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(offered.length - 1, at + 1));
          else if (event.key === "ArrowUp") setAt(Math.max(0, at - 1));
          else if (event.key === "Enter") choose(at);
          else return;
          event.preventDefault();
        }}
      />
      <ul id={list} role="listbox" aria-label="Actions" className="max-h-80 overflow-auto">
        {offered.map((action, i) => (
          // oxlint-disable-next-line jsx-a11y/click-events-have-key-events -- the field has the focus and takes the keys
          <li
            key={action.label}
            id={`${list}-${i}`}
            role="option"
            aria-selected={i === at}
            onClick={() => choose(i)}
            className={`flex min-h-8 cursor-pointer items-center justify-between rounded px-2 text-sm ${i === at ? "bg-accent-soft text-accent" : ""}`}
          >
            {action.label}
            {action.keys && (
              <span>
                {action.keys.split(" ").map((key) => (
                  <Key key={key} name={key} />
                ))}
              </span>
            )}
          </li>
        ))}
      </ul>
      {offered.length === 0 && <p className="py-4 text-center text-sm text-muted">No matching action.</p>}
    </Dialog>
  );
}
