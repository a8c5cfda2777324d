/** Change of a failed job's request that should let its copy pass. */
import type { Job } from "@/api/types";
import { duration, parseDuration } from "@/format/duration";
import type { Draft } from "@/model/submit/draft";

export interface Fix {
  /** The change, in one sentence. */
  text: string;
  change: Partial<Draft>;
}

/** The fix that follows from how a job ended; undefined where only its author can know. */
export function fixOf(
  job: Pick<Job, "outcome" | "state" | "time_limit" | "on_oom" | "retries">,
): Fix | undefined {
  if (job.state !== "failed") return undefined;
  if (job.outcome === "time_limit" && job.time_limit != null) {
    const seconds = (parseDuration(job.time_limit) ?? 0) * 2;
    const limit = duration(seconds).replaceAll(" ", "");
    return {
      text: `With a time limit of ${limit} instead of ${job.time_limit}.`,
      change: { timeLimit: limit },
    };
  }
  if (job.outcome === "oom_gpu")
    return {
      text: "With smaller micro-batches, then recomputed layers, then offload, until it fits; the global batch stays.",
      change: { onOom: true, retries: String(Math.max(3, job.retries ?? 0)) },
    };
  if (job.outcome === "lost" || job.outcome === "stalled")
    return { text: "With two retries.", change: { retries: String(Math.max(2, job.retries ?? 0)) } };
  return undefined;
}
