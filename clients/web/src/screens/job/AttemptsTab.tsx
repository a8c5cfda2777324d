import { Link } from "@tanstack/react-router";
import type { Job } from "@/api/types";
import { EmptyState } from "@/components/Feedback";
import { Ago, Elapsed } from "@/components/Time";
import { Message } from "@/components/Message";
import { bytes } from "@/format/units";
import { OUTCOME_WORDS } from "@/model/jobs/job";
import { ranges } from "@/model/gpus/topology";

/** Table of the attempts: GPUs, start, outcome, and a link to the log. */
export function AttemptsTab({ job }: { job: Job }) {
  const attempts = [...(job.attempts ?? [])].reverse();
  if (attempts.length === 0)
    return (
      <EmptyState title="No attempts yet.">
        Each attempt is listed here with its GPUs and how it ended.
      </EmptyState>
    );
  return (
    <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Attempts">
      <table className="w-full text-sm">
        <caption className="sr-only">Attempts of job {job.id}, newest first</caption>
        <thead className="text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
            <th>Attempt</th>
            <th>GPUs</th>
            <th className="max-sm:hidden">Started</th>
            <th>Ran</th>
            <th>Outcome</th>
            <th className="text-right">Exit</th>
            <th className="text-right max-sm:hidden">Peak host memory</th>
            <th>Log</th>
          </tr>
        </thead>
        <tbody>
          {attempts.map((attempt) => (
            <tr key={attempt.id} className="border-t border-line align-top [&>td]:px-3 [&>td]:py-1.5">
              <td className="tabular">{attempt.id}</td>
              <td className="whitespace-nowrap tabular">{ranges(attempt.gpu_indices) || "none"}</td>
              <td className="max-sm:hidden">
                <Ago time={attempt.started_at} none="not yet" />
              </td>
              <td>
                <Elapsed from={attempt.started_at} to={attempt.ended_at} running={attempt.ended_at == null} />
              </td>
              <td className="min-w-44 sm:min-w-64">
                {attempt.outcome ? OUTCOME_WORDS[attempt.outcome] : attempt.state}
                {attempt.message && (
                  <span className="block text-xs text-muted">
                    <Message parts={attempt.message_parts} text={attempt.message} />
                  </span>
                )}
              </td>
              <td className="text-right tabular">
                {attempt.signal != null ? `signal ${attempt.signal}` : (attempt.exit_code ?? "–")}
              </td>
              <td className="text-right tabular max-sm:hidden">{bytes(attempt.max_rss_bytes)}</td>
              <td>
                <Link
                  to="/jobs/$jobId/$tab"
                  params={{ jobId: String(job.id), tab: "log" }}
                  search={{ attempt: attempt.number }}
                  className="text-accent underline"
                >
                  open
                </Link>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
