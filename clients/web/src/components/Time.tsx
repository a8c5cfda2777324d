import { useSyncExternalStore } from "react";
import { absoluteInZone, clock, duration, relative, span } from "@/format/duration";

const watchers = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

/**
 * The current time in steps of `stepMs`; one timer for the page, stopped while it is hidden. What
 * only shows minutes is drawn again once a minute.
 */
export function useNow(stepMs = 1_000): number {
  return useSyncExternalStore(watch, () => (stepMs === Infinity ? 0 : Math.floor(now / stepMs) * stepMs));
}

const MINUTE_MS = 60_000;

/** Step at which the distance to a moment changes in words: seconds within an hour, else minutes. */
export function useNowNear(at: number): number {
  return useSyncExternalStore(watch, () =>
    Math.abs(now - at) < 60 * MINUTE_MS ? now : at - Math.trunc((at - now) / MINUTE_MS) * MINUTE_MS,
  );
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
  const at = time == null ? 0 : typeof time === "number" ? time : Date.parse(time);
  const present = useNowNear(at);
  if (time == null) return <span className="text-muted">{none}</span>;
  return (
    <time
      dateTime={new Date(at).toISOString()}
      title={absoluteInZone(at)}
      className="tabular whitespace-nowrap"
    >
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
  // What is over needs no clock.
  const present = useNow(to == null ? 1_000 : Infinity);
  if (from == null) return <span className="text-muted">–</span>;
  const start = Date.parse(from);
  const seconds = ((to == null ? present : Date.parse(to)) - start) / 1000;
  return (
    <span
      className="tabular whitespace-nowrap"
      title={`since ${absoluteInZone(start)}${to == null ? "" : ` until ${absoluteInZone(Date.parse(to))}`}`}
    >
      {running ? clock(seconds) : to == null ? duration(seconds) : span(seconds)}
    </span>
  );
}

/** "3h 12m left", the end on hover; says so when the limit has passed. */
export function TimeLeft({ until }: { until: number | string | null | undefined }) {
  const present = useNowNear(typeof until === "string" ? Date.parse(until) : (until ?? 0));
  if (until == null) return <span className="text-muted">no time limit</span>;
  const end = typeof until === "number" ? until : Date.parse(until);
  const seconds = (end - present) / 1000;
  return (
    <span className="tabular whitespace-nowrap" title={`limit ${absoluteInZone(end)}`}>
      {seconds > 0 ? `${duration(seconds)} left` : "at its limit"}
    </span>
  );
}
