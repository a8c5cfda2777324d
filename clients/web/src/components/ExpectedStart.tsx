import type { Job } from "@/api/types";
import { useNow } from "./Time";
import { absolute, relative, wallClock } from "@/format/duration";

/** "about 14:10 (in 25m)", or that nobody can tell. */
export function ExpectedStart({ job }: { job: Pick<Job, "expected_start" | "state"> }) {
  const now = useNow();
  if (job.expected_start == null) {
    return (
      <span className="text-muted" title="Nothing that it waits for has a known end; Explain names it">
        {job.state === "held" ? "when released" : "start not known"}
      </span>
    );
  }
  const at = Date.parse(job.expected_start);
  return (
    <time dateTime={job.expected_start} title={absolute(at)} className="tabular whitespace-nowrap">
      {at <= now ? "any moment" : `about ${wallClock(at, now)} (${relative(at, now)})`}
    </time>
  );
}
