import type { Job, Progress } from "@/api/types";
import { useNowNear } from "./Time";
import { absoluteInZone, leftBetween, relative, wallClock } from "@/format/duration";

/** "about 14:10 to 14:30 (in 25m)", or that it is unknown. */
export function ExpectedStart({
  job,
}: {
  job: Pick<Job, "expected_start" | "expected_start_p90" | "state">;
}) {
  const at = job.expected_start == null ? 0 : Date.parse(job.expected_start);
  const now = useNowNear(at);
  if (job.expected_start == null) {
    return (
      <span className="text-muted" title="Nothing it waits for has a known end. Explain shows what that is.">
        {job.state === "held" ? "when released" : "start unknown"}
      </span>
    );
  }
  return (
    <time dateTime={job.expected_start} title={absoluteInZone(at)} className="tabular whitespace-nowrap">
      {at <= now ? (
        "any moment now"
      ) : (
        <>
          about {wallClock(at, now)}
          <NineOfTen at={job.expected_start_p90} median={at} now={now} /> ({relative(at, now)})
        </>
      )}
    </time>
  );
}

/** " to 14:50": nine times of ten it has happened by then. Nothing where that is the same minute. */
export function NineOfTen({
  at,
  median,
  now,
}: {
  at: string | null | undefined;
  median: number;
  now: number;
}) {
  const late = at == null ? median : Date.parse(at);
  if (late - Math.max(median, now) < 60_000) return null;
  return (
    <span
      className="text-muted"
      title={`Half of the time by ${wallClock(median, now)}, nine times of ten by then`}
    >
      {" to "}
      {wallClock(late, now)}
    </span>
  );
}

/** "1h 20m to 1h 40m left", by the run's own progress; nothing while it is not known. */
export function RunLeft({ progress }: { progress: Progress }) {
  if (progress.seconds_left == null) return null;
  return (
    <span title={`Half of such runs, and nine of ten; by its own progress, from ${progress.source}`}>
      {leftBetween(progress.seconds_left, progress.seconds_left_p90)} left
    </span>
  );
}
