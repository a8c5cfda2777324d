import { useSyncExternalStore } from "react";
import { absolute, clock, duration, relative, span } from "@/format/duration";

const watchers = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

/** The current time to the second; one timer for the page, stopped while it is hidden. */
export function useNow(): number {
  return useSyncExternalStore(watch, () => now);
}

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  timer ??= setInterval(() => {
    if (document.visibilityState === "hidden") return;
    now = Math.floor(Date.now() / 1000) * 1000;
    for (const each of watchers) each();
  }, 1_000);
  return () => {
    watchers.delete(watcher);
    if (watchers.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** "5m ago", the absolute time on hover. */
export function Ago({ time, none = "–" }: { time: string | number | null | undefined; none?: string }) {
  const present = useNow();
  if (time == null) return <span className="text-muted">{none}</span>;
  const at = typeof time === "number" ? time : Date.parse(time);
  return (
    <time dateTime={new Date(at).toISOString()} title={absolute(at)} className="tabular whitespace-nowrap">
      {relative(at, present)}
    </time>
  );
}

/** Time elapsed since `from`, until `to` or now. */
export function Elapsed({
  from,
  to,
  running = false,
}: {
  from: string | null | undefined;
  to?: string | null | undefined;
  running?: boolean;
}) {
  const present = useNow();
  if (from == null) return <span className="text-muted">–</span>;
  const start = Date.parse(from);
  const seconds = ((to == null ? present : Date.parse(to)) - start) / 1000;
  return (
    <span
      className="tabular whitespace-nowrap"
      title={`since ${absolute(start)}${to == null ? "" : ` until ${absolute(Date.parse(to))}`}`}
    >
      {running ? clock(seconds) : to == null ? duration(seconds) : span(seconds)}
    </span>
  );
}

/** "3h 12m left", the end on hover; says so when the limit has passed. */
export function TimeLeft({ until }: { until: number | string | null | undefined }) {
  const present = useNow();
  if (until == null) return <span className="text-muted">no time limit</span>;
  const end = typeof until === "number" ? until : Date.parse(until);
  const seconds = (end - present) / 1000;
  return (
    <span className="tabular whitespace-nowrap" title={`limit ${absolute(end)}`}>
      {seconds > 0 ? `${duration(seconds)} left` : "at its limit"}
    </span>
  );
}
