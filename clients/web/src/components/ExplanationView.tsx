import { Link } from "@tanstack/react-router";
import { CircleAlert, Info, Lightbulb } from "lucide-react";
import type { Explanation, Reason } from "@/api/types";
import { NineOfTen } from "./ExpectedStart";
import { absoluteInZone, relative, wallClock } from "@/format/duration";
import { jobsOf, namesTime } from "@/model/message";
import { ScoreBreakdown } from "./ScoreBreakdown";
import { Message } from "./Message";
import { useNow } from "./Time";

const CONFIDENCE = {
  certain: "certain",
  likely: "likely: it follows from time limits and earlier runs",
  guess: "a guess: something ahead has neither limit nor earlier runs",
  unknown: "not known: something ahead has no time limit",
};

/** Why a job is where it is: the scheduler's own facts, one by one. */
export function ExplanationView({
  explanation,
  open = false,
}: {
  explanation: Explanation;
  /** True if the score is in view without asking for them. */
  open?: boolean;
}) {
  const now = useNow();
  const start = explanation.expected_start == null ? undefined : Date.parse(explanation.expected_start);
  // The first reason often is the summary.
  const repeated = explanation.summary_reason === 0;
  return (
    <div className="text-sm">
      {!repeated && (
        <p className="mb-2 font-medium">
          <Message parts={explanation.summary_parts} text={explanation.summary} />
        </p>
      )}
      {(explanation.position != null || start !== undefined) && (
        <p className="mb-3">
          {explanation.position != null && `Position ${explanation.position}. `}
          {start !== undefined && (
            <>
              Expected start{" "}
              <time
                dateTime={explanation.expected_start ?? ""}
                title={absoluteInZone(start)}
                className="font-medium"
              >
                about {wallClock(start, now)}
                <NineOfTen at={explanation.expected_start_p90} median={start} now={now} /> (
                {relative(start, now)})
              </time>
              <span className="text-muted">, {CONFIDENCE[explanation.confidence ?? "unknown"]}</span>.
            </>
          )}
        </p>
      )}
      {(explanation.reasons ?? []).length > 0 && (
        <ul className="flex flex-col gap-1.5">
          {explanation.reasons?.map((reason, i) => (
            <ReasonLine key={i} reason={reason} now={now} />
          ))}
        </ul>
      )}
      {(explanation.would_help ?? []).length > 0 && (
        <>
          <h3 className="mt-4 mb-1.5 text-xs font-semibold text-muted">What would start it sooner</h3>
          <ul className="flex flex-col gap-1.5">
            {explanation.would_help?.map((sentence, i) => (
              <li key={sentence} className="flex gap-2">
                <Lightbulb aria-hidden className="mt-0.5 size-4 shrink-0 text-good" />
                <span>
                  <Message parts={explanation.would_help_parts?.[i]} text={sentence} />
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
      <ScoreBreakdown explanation={explanation} open={open} />
    </div>
  );
}

function ReasonLine({ reason, now }: { reason: Reason; now: number }) {
  const Icon = reason.blocking ? CircleAlert : Info;
  // Most sentences name their end themselves.
  const until =
    reason.until == null || namesTime(reason.sentence_parts, reason.until)
      ? undefined
      : Date.parse(reason.until);
  const named = jobsOf(reason.sentence_parts);
  const unnamed = reason.kind === "behind" ? [] : (reason.job_ids ?? []).filter((id) => !named.has(id));
  return (
    <li className="flex gap-2">
      <Icon
        aria-hidden
        className={`mt-0.5 size-4 shrink-0 ${reason.blocking ? "text-warn" : "text-muted"}`}
      />
      <span className="min-w-0">
        <Message parts={reason.sentence_parts} text={reason.sentence} />
        <span className="text-xs text-muted">
          {until !== undefined && (
            <>
              {" "}
              · until{" "}
              <time dateTime={reason.until ?? ""} title={absoluteInZone(until)}>
                {wallClock(until, now)}
              </time>
            </>
          )}
          {unnamed.slice(0, 6).map((id) => (
            <span key={id}>
              {" "}
              ·{" "}
              <Link to="/jobs/$jobId" params={{ jobId: String(id) }} className="text-accent underline">
                job {id}
              </Link>
            </span>
          ))}
        </span>
      </span>
    </li>
  );
}
