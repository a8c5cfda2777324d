import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useId, useState } from "react";
import { api } from "@/api/endpoints";
import { Dialog } from "@/components/Dialog";
import { useSettled } from "@/components/useSettled";
import { useAllActions } from "@/keys/useActions";
import { Key } from "./HelpDialog";

/** Command palette (Ctrl-K): finds the screen's actions, and jobs by number, name or command. */
export function CommandPalette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const words = text.toLowerCase().trim();
  const found = useAllActions().filter((a) => a.label.toLowerCase().includes(words));
  const number = /^#?(\d+)$/.exec(words)?.[1];
  const wanted = useSettled(number === undefined && words.length > 1 ? words : "", 200);
  const named = useQuery({
    queryKey: ["palette", wanted],
    queryFn: ({ signal }) => api.jobs({ q: wanted, limit: 8 }, signal),
    enabled: wanted !== "",
  }).data;
  const jobs = (wanted === "" ? [] : (named?.jobs ?? [])).map((job) => ({
    label: `Job ${job.id} · ${job.name} · ${job.user} · ${job.state}`,
    keys: undefined,
    run: () => void navigate({ to: "/jobs/$jobId", params: { jobId: String(job.id) } }),
  }));
  const offered = number
    ? [
        {
          label: `Go to job ${number}`,
          keys: undefined,
          run: () => void navigate({ to: "/jobs/$jobId", params: { jobId: number } }),
        },
        ...found,
      ]
    : [...found, ...jobs];
  const choose = (index: number) => {
    onClose();
    offered[index]?.run();
  };
  return (
    <Dialog title="Actions and jobs" onClose={onClose}>
      <input
        data-focus
        role="combobox"
        aria-expanded
        aria-controls={list}
        aria-activedescendant={offered.length > 0 ? `${list}-${at}` : undefined}
        aria-label="Find an action, or a job by number or name"
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
      <ul id={list} role="listbox" aria-label="Actions and jobs" className="max-h-80 overflow-auto">
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
            <span className="min-w-0 truncate">{action.label}</span>
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
      {offered.length === 0 && (
        <p className="py-4 text-center text-sm text-muted">No matching action or job.</p>
      )}
    </Dialog>
  );
}
