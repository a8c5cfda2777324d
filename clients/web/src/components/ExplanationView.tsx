import { Link } from "@tanstack/react-router";
import { CircleAlert, Info, Lightbulb } from "lucide-react";
import type { Explanation, Reason } from "@/api/types";
import { absolute, relative, wallClock } from "@/format/duration";
import { pieces, withoutForecast } from "@/model/sentence";
import { ScoreBreakdown } from "./ScoreBreakdown";
import { Told } from "./Told";
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
  /** Whether the points are in view without asking for them. */
  open?: boolean;
}) {
  const now = useNow();
  const start = explanation.expected_start == null ? undefined : Date.parse(explanation.expected_start);
  const summary = withoutForecast(explanation.summary);
  // The gravest reason often is the summary.
  const repeated = explanation.reasons?.[0]?.sentence === summary;
  return (
    <div className="text-sm">
      {!repeated && (
        <p className="mb-2 font-medium">
          <Told text={summary} />
        </p>
      )}
      {(explanation.position != null || start !== undefined) && (
        <p className="mb-3">
          {explanation.position != null && `Place ${explanation.position} in line. `}
          {start !== undefined && (
            <>
              Expected start{" "}
              <time
                dateTime={explanation.expected_start ?? ""}
                title={absolute(start)}
                className="font-medium"
              >
                about {wallClock(start, now)} ({relative(start, now)})
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
            {explanation.would_help?.map((sentence) => (
              <li key={sentence} className="flex gap-2">
                <Lightbulb aria-hidden className="mt-0.5 size-4 shrink-0 text-good" />
                <span>
                  <Told text={sentence} />
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
  // Most sentences tell their end themselves.
  const told = reason.until == null || reason.kind === "reservation" || reason.sentence.includes(" until ");
  const until = told ? undefined : Date.parse(reason.until ?? "");
  const named = new Set(pieces(reason.sentence).flatMap((p) => (p.kind === "job" ? [p.id] : [])));
  const unnamed = (reason.job_ids ?? []).filter((id) => !named.has(id));
  return (
    <li className="flex gap-2">
      <Icon
        aria-hidden
        className={`mt-0.5 size-4 shrink-0 ${reason.blocking ? "text-warn" : "text-muted"}`}
      />
      <span className="min-w-0">
        <Told text={reason.sentence} />
        <span className="text-xs text-muted">
          {until !== undefined && (
            <>
              {" "}
              · until{" "}
              <time dateTime={reason.until ?? ""} title={absolute(until)}>
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
