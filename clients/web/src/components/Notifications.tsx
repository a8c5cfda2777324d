/** Toast notifications: shown in a corner for a while, and announced to screen readers. */
import { useEffect, useState, useSyncExternalStore } from "react";

interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

let notices: Notice[] = [];
let nextId = 1;
const watchers = new Set<() => void>();

export function notify(text: string, bad = false): void {
  const notice = { id: nextId, text, bad };
  nextId += 1;
  change([...notices.slice(-3), notice]);
  setTimeout(() => change(notices.filter((n) => n !== notice)), bad ? 12_000 : 5_000);
}

function change(next: Notice[]): void {
  notices = next;
  for (const watcher of watchers) watcher();
}

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

export function Notifications() {
  const shown = useSyncExternalStore(watch, () => notices);
  const [spoken, setSpoken] = useState("");
  const newest = shown.at(-1)?.text ?? "";
  useEffect(() => {
    if (newest === "") return;
    const timer = setTimeout(() => setSpoken(newest), 100);
    return () => clearTimeout(timer);
  }, [newest]);
  return (
    <>
      <div role="status" aria-live="polite" className="sr-only">
        {spoken}
      </div>
      <div
        aria-hidden
        className="pointer-events-none fixed right-4 bottom-16 z-50 flex w-80 max-w-[calc(100vw-2rem)] flex-col gap-2 lg:bottom-4"
      >
        {shown.map((notice) => (
          <div
            key={notice.id}
            className={`panel px-3 py-2 text-sm shadow-lg ${notice.bad ? "border-bad" : ""}`}
          >
            {notice.text}
          </div>
        ))}
      </div>
    </>
  );
}
