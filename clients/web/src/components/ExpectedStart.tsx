import type { Job } from "@/api/types";
import { useNowNear } from "./Time";
import { absoluteInZone, relative, wallClock } from "@/format/duration";

/** "about 14:10 (in 25m)", or that it is unknown. */
export function ExpectedStart({ job }: { job: Pick<Job, "expected_start" | "state"> }) {
  const at = job.expected_start == null ? 0 : Date.parse(job.expected_start);
  const now = useNowNear(at);
  if (job.expected_start == null) {
    return (
      <span className="text-muted" title="Nothing it waits for has a known end. Explain shows what.">
        {job.state === "held" ? "when released" : "start unknown"}
      </span>
    );
  }
  return (
    <time dateTime={job.expected_start} title={absoluteInZone(at)} className="tabular whitespace-nowrap">
      {at <= now ? "any moment now" : `about ${wallClock(at, now)} (${relative(at, now)})`}
    </time>
  );
}
