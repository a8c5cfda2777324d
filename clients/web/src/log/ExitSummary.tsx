import type { Attempt } from "@/api/types";
import { span } from "@/format/duration";
import { Message } from "@/components/Message";
import { bytes } from "@/format/units";
import { OUTCOME_WORDS } from "@/model/jobs/job";

/** Summary of how an attempt ended: outcome, exit code, duration, peak memory. */
export function ExitSummary({
  attempt,
  withMessage,
}: {
  attempt: Attempt;
  /** False where the screen shows it elsewhere. */ withMessage: boolean;
}) {
  const code = attempt.exit_code ?? null;
  const parts: string[] = [];
  if (attempt.outcome) parts.push(OUTCOME_WORDS[attempt.outcome]);
  if (attempt.signal != null) parts.push(`signal ${attempt.signal}`);
  else if (code !== null) parts.push(`exit code ${code}`);
  if (attempt.started_at && attempt.ended_at)
    parts.push(`after ${span((Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000)}`);
  if (attempt.max_rss_bytes != null) parts.push(`peak host memory ${bytes(attempt.max_rss_bytes)}`);
  const good = attempt.outcome === "exit" && code === 0;
  return (
    <p className={`border-t border-line px-3 py-1.5 text-xs ${good ? "text-good" : "text-warn"}`}>
      <span className="font-medium">
        Attempt {attempt.id} ended: {parts.join(", ") || "no record"}.
      </span>
      {withMessage && attempt.message && (
        <span className="text-ink">
          {" "}
          <Message parts={attempt.message_parts} text={attempt.message} />
        </span>
      )}
    </p>
  );
}
