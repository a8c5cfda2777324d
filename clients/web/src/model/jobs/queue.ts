/** The queue in the scheduler's order. */
import type { Job } from "@/api/types";
import { at, limitEnd } from "./job";
import { parseDuration } from "@/format/duration";

/** Jobs with a position first, by position; then those without one, oldest first. */
export function byPosition(jobs: readonly Job[]): Job[] {
  return [...jobs].sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity) || a.id - b.id);
}

export interface PlanBar {
  job: Job;
  /** ms since the epoch. */
  from: number;
  /** Undefined: open end, no time limit. */
  to: number | undefined;
  running: boolean;
}

/** Running jobs and expected starts as bars over time, soonest first. */
export function planBars(running: readonly Job[], queued: readonly Job[], now: number): PlanBar[] {
  const bars: PlanBar[] = running.map((job) => ({
    job,
    from: at(job.started_at) ?? now,
    to: limitEnd(job),
    running: true,
  }));
  for (const job of byPosition(queued)) {
    const from = at(job.expected_start);
    if (from === undefined) continue;
    const limit = job.time_limit == null ? undefined : parseDuration(job.time_limit);
    bars.push({
      job,
      from: Math.max(from, now),
      to: limit === undefined ? undefined : Math.max(from, now) + limit * 1000,
      running: false,
    });
  }
  return bars;
}
