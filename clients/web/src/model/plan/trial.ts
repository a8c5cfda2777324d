/** Dry run of the plan: what is tried, from fields and from a drag. */
import type { PlanTrial } from "@/api/endpoints";
import type { PlanBar } from "@/api/types";

const STEP_MS = 15 * 60_000;

/** What two fields ask for; an empty one keeps what the job has. */
export function trialOf(job: number, gpus: string, limit: string): PlanTrial {
  const count = Number(gpus);
  return {
    job,
    ...(gpus.trim() === "" || !Number.isInteger(count) || count < 1 ? {} : { gpus: count }),
    ...(limit.trim() === "" ? {} : { time_limit: limit.trim() }),
  };
}

/** Time limit of a bar whose end was dragged by `ms`, in quarters of an hour: "2h30m". At least one. */
export function draggedLimit(bar: Pick<PlanBar, "starts_at" | "ends_at" | "ends_by">, ms: number): string {
  const start = Date.parse(bar.starts_at);
  const end = Date.parse(bar.ends_by ?? bar.ends_at ?? bar.starts_at) + ms;
  const steps = Math.max(1, Math.round((end - start) / STEP_MS));
  const minutes = (steps * STEP_MS) / 60_000;
  const [h, m] = [Math.floor(minutes / 60), minutes % 60];
  return `${h > 0 ? `${h}h` : ""}${m > 0 ? `${m}m` : ""}`;
}
