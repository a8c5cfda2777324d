/** Idle jobs, and the time at which the next GPU comes free. */
import type { Gpu, Job } from "@/api/types";
import { at } from "./job";

const IDLE_PERCENT = 5;
export const IDLE_MINUTES = 10;

/**
 * True when all GPUs of a running job were idle for ten minutes. `history` gives a GPU's
 * utilisation per minute, newest last; what is not known does not count as idle.
 */
export function isIdle(
  job: Pick<Job, "state" | "gpu_uuids" | "started_at">,
  history: (uuid: string) => readonly (number | null)[],
  now: number,
): boolean {
  const uuids = job.gpu_uuids ?? [];
  const started = at(job.started_at);
  if (job.state !== "running" || uuids.length === 0 || started === undefined) return false;
  if (now - started < (IDLE_MINUTES + 1) * 60_000) return false;
  return uuids.every((uuid) => {
    // The newest minute may not be whole yet.
    const recent = history(uuid).slice(-IDLE_MINUTES - 1, -1);
    return (
      recent.length === IDLE_MINUTES && recent.every((percent) => percent !== null && percent < IDLE_PERCENT)
    );
  });
}

/** The first GPUs to come free by time limits: their indices and when; undefined when none will. */
export function nextFree(gpus: readonly Gpu[]): { indices: number[]; at: number } | undefined {
  const ends = gpus.flatMap((gpu) => {
    // A shared GPU is free when the last job on it has ended.
    const holders = gpu.holders?.length ? gpu.holders : [gpu.holder];
    const all = holders.map((holder) => (holder.kind === "job" ? at(holder.until) : undefined));
    const known = all.filter((until) => until !== undefined);
    return known.length === 0 || known.length < all.length
      ? []
      : [{ index: gpu.index, until: Math.max(...known) }];
  });
  if (ends.length === 0) return undefined;
  const first = Math.min(...ends.map((e) => e.until));
  return { indices: ends.filter((e) => e.until - first < 1_000).map((e) => e.index), at: first };
}
