/** Idle GPUs of running jobs. */
import type { Job } from "@/api/types";
import { at } from "./job";

const IDLE_PERCENT = 5;
export const IDLE_MINUTES = 10;

/**
 * Indices of a running job's GPUs that were idle for ten minutes. `history` gives a GPU's utilisation
 * per minute, newest last; what is not known does not count as idle. None for a share of a GPU.
 */
export function idleGpus(
  job: Pick<Job, "state" | "gpu_uuids" | "gpu_indices" | "started_at" | "share">,
  history: (uuid: string) => readonly (number | null)[],
  now: number,
): number[] {
  const started = at(job.started_at);
  if (job.state !== "running" || job.share || started === undefined) return [];
  if (now - started < (IDLE_MINUTES + 1) * 60_000) return [];
  return (job.gpu_uuids ?? []).flatMap((uuid, i) => {
    // The newest minute may not be whole yet.
    const recent = history(uuid).slice(-IDLE_MINUTES - 1, -1);
    const idle =
      recent.length === IDLE_MINUTES && recent.every((percent) => percent !== null && percent < IDLE_PERCENT);
    return idle ? [job.gpu_indices?.[i] ?? i] : [];
  });
}
