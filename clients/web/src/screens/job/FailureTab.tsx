import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { api } from "@/api/endpoints";
import { useMe } from "@/api/queries";
import type { Attempt, FailureReport, Job } from "@/api/types";
import { buttonLook } from "@/components/Button";
import { CopyButton } from "@/components/Copy";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { Message } from "@/components/Message";
import { plural } from "@/format/units";
import { OUTCOME_WORDS } from "@/model/jobs/job";
import { fixOf } from "@/model/jobs/fix";
import { CodeDifference } from "./CodeDifference";
import { GpuHistoryCharts } from "./GpuHistoryCharts";

/** Seconds of the GPUs before the end that are shown. */
const BEFORE_S = 120;

type Report = Required<FailureReport>;

function whole(found: FailureReport): Report {
  return {
    attempt: found.attempt ?? null,
    traceback: found.traceback ?? [],
    ranks: found.ranks ?? [],
    succeeded_job_id: found.succeeded_job_id ?? null,
    differences: found.differences ?? [],
    same_outcome_7d: found.same_outcome_7d ?? 0,
  };
}

/** One page of a failure: what it said, what its GPUs did, what was different when it last worked. */
export function FailureTab({ job, attempt }: { job: Job; attempt: Attempt | undefined }) {
  const me = useMe().data;
  const found = useQuery({
    queryKey: ["job", job.id, "failure", attempt?.number],
    queryFn: ({ signal }) => api.failure(job.id, attempt?.number, signal),
    select: whole,
  });
  const report = found.data;
  if (found.isError && !report)
    return <ErrorMessage error={found.error} retry={() => void found.refetch()} />;
  if (!report) return <Skeleton rows={4} height={80} />;
  const fix = fixOf(job);
  const message = attempt?.message ?? job.message;
  const mine = !me || me.admin || me.user === job.user;
  return (
    <div data-failure>
      <Section title="How it ended">
        <div className="panel px-4 py-3 text-sm">
          <p className="font-medium text-bad">
            {attempt?.outcome ? OUTCOME_WORDS[attempt.outcome] : job.state}
            {attempt?.exit_code != null && `, exit code ${attempt.exit_code}`}
          </p>
          {message && (
            <p className="mt-1">
              <Message parts={attempt?.message_parts ?? job.message_parts} text={message} />
            </p>
          )}
          {report.same_outcome_7d > 0 && (
            <p className="mt-1 text-muted">
              {plural(report.same_outcome_7d, "other job")} of the box ended like this in the last 7 days.
            </p>
          )}
          <div className="mt-3 flex flex-wrap items-center gap-2">
            <Link
              to="/submit"
              search={{ like: job.id, ...(fix ? { fix: true as const } : {}) }}
              className={buttonLook("primary", true)}
            >
              {fix ? "Retry with the fix" : "Submit a copy"}
            </Link>
            {fix && <span className="text-muted">{fix.text}</span>}
          </div>
        </div>
      </Section>
      {report.traceback.length > 0 && (
        <Section title="Traceback" note="the first one: later ones often follow from it">
          <Lines job={job} attempt={attempt} lines={report.traceback} label="Lines of the traceback" />
        </Section>
      )}
      <Section title="Last lines" note={report.ranks.length > 1 ? "of each rank" : ""}>
        {report.ranks.length === 0 ? (
          <EmptyState title="It wrote nothing" />
        ) : (
          <div className="grid gap-3 xl:grid-cols-2">
            {report.ranks.map((one) => (
              <div key={one.rank ?? "none"} className="min-w-0">
                {report.ranks.length > 1 && (
                  <h3 className="mb-1 text-xs font-medium text-muted">
                    {one.rank == null ? "Without a rank" : `Rank ${one.rank}`}
                  </h3>
                )}
                <Lines
                  job={job}
                  attempt={attempt}
                  lines={one.lines}
                  label={one.rank == null ? "Last lines without a rank" : `Last lines of rank ${one.rank}`}
                />
              </div>
            ))}
          </div>
        )}
      </Section>
      {attempt && attempt.gpu_uuids.length > 0 && (
        <GpuHistoryCharts job={job} attempt={attempt} growing={false} lastSeconds={BEFORE_S} />
      )}
      <Differences report={report} />
      {mine && report.succeeded_job_id != null && (
        <CodeDifference job={job} before={report.succeeded_job_id} />
      )}
    </div>
  );
}

function Lines({
  job,
  attempt,
  lines,
  label,
}: {
  job: Job;
  attempt: Attempt | undefined;
  lines: Report["traceback"];
  label: string;
}) {
  return (
    <div className="panel relative overflow-hidden">
      <div className="absolute top-1 right-1 rounded bg-panel">
        <CopyButton text={lines.map((line) => line.text).join("\n")} label={`Copy: ${label}`} />
      </div>
      <div
        tabIndex={0}
        role="region"
        aria-label={label}
        className="max-h-96 overflow-auto py-1.5 font-mono text-xs leading-[18px]"
      >
        {lines.map((line) => (
          <div key={line.number} className="flex w-max min-w-full">
            <Link
              to="/jobs/$jobId/$tab"
              params={{ jobId: String(job.id), tab: "log" }}
              search={{ line: line.number + 1, ...(attempt ? { attempt: attempt.number } : {}) }}
              tabIndex={-1}
              aria-label={`Line ${line.number + 1} in the log`}
              className="w-16 shrink-0 pr-3 text-right text-muted select-none hover:text-accent"
            >
              {line.number + 1}
            </Link>
            <span className="pr-10 whitespace-pre">{line.text}</span>
          </div>
        ))}
      </div>
    </div>
  );
}

function Differences({ report }: { report: Report }) {
  const before = report.succeeded_job_id;
  if (before == null)
    return (
      <Section title="Since it last worked">
        <p className="text-sm text-muted">No job of this name and user has succeeded yet.</p>
      </Section>
    );
  const link: ReactNode = (
    <Link to="/jobs/$jobId" params={{ jobId: String(before) }} className="text-accent underline">
      job {before}
    </Link>
  );
  return (
    <Section title="Since it last worked" note={<>compared with {link}, its last success</>}>
      {report.differences.length === 0 ? (
        <p className="text-sm text-muted">The same command, settings and resources.</p>
      ) : (
        <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Differences">
          <table className="w-full text-sm">
            <caption className="sr-only">Fields that differ from the last success</caption>
            <thead className="text-left text-xs text-muted">
              <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
                <th>Field</th>
                <th>Last success</th>
                <th>This job</th>
              </tr>
            </thead>
            <tbody>
              {report.differences.map((one) => (
                <tr key={one.field} className="border-t border-line align-top [&>td]:px-3 [&>td]:py-1.5">
                  <td className="whitespace-nowrap">{one.field}</td>
                  <td className="wrap-anywhere text-muted">
                    <code className="text-xs">{one.before ?? "–"}</code>
                  </td>
                  <td className="wrap-anywhere">
                    <code className="text-xs">{one.now ?? "–"}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Section>
  );
}
