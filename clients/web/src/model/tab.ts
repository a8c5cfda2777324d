/** Title and icon of the browser's tab. */
import type { Job } from "@/api/types";

type Shown = Pick<Job, "id" | "name" | "state" | "trouble">;

/** "42 % running · twin-history · Job 3 · Berth": what matters first, as a tab shows little. */
export function titleOf(path: string, job: Shown | undefined, fraction: number | undefined): string {
  const [first = "", id] = path.split("/").filter(Boolean);
  if (first === "") return "Overview · Berth";
  if (first === "jobs" && id) {
    if (!job) return `Job ${id} · Berth`;
    const share = fraction === undefined ? "" : `${Math.floor(fraction * 100)} % `;
    const wrong = job.trouble ? "⚠ " : "";
    return `${wrong}${share}${job.state} · ${job.name} · Job ${id} · Berth`;
  }
  return `${first.charAt(0).toUpperCase()}${first.slice(1)} · Berth`;
}

export type Icon = "running" | "succeeded" | "failed";

const ICONS: Partial<Record<Job["state"], Icon>> = {
  starting: "running",
  running: "running",
  stopping: "running",
  succeeded: "succeeded",
  failed: "failed",
};

/** The icon for a job's state; undefined: that of Berth. */
export function iconOf(job: Shown | undefined): Icon | undefined {
  return job?.trouble ? "failed" : job && ICONS[job.state];
}
