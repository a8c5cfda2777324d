import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { memo, useCallback, useState } from "react";
import { useCounts, useJobs, useQueue } from "@/api/queries";
import type { Job } from "@/api/types";
import { Button } from "@/components/Button";
import { ChangedPill } from "@/components/ChangedPill";
import { ExpectedStart } from "@/components/ExpectedStart";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { PageHeader, Section } from "@/components/Layout";
import { JobLink } from "@/components/JobLink";
import { StateBadge } from "@/components/StateBadge";
import { Ago } from "@/components/Time";
import { useSteady } from "@/components/useSteady";
import { Message } from "@/components/Message";
import { bytes, plural } from "@/format/units";
import { byPosition } from "@/model/jobs/queue";
import { ExplainDialog } from "./ExplainDialog";
import { BerthPlan } from "@/screens/plan/BerthPlan";

/** As many at once; more on request. */
const PAGE = 100;
/** The server lists no more. */
const MOST = 1_000;

/** Queue in the scheduler's order, with expected starts and reasons. */
export function QueueScreen() {
  const [limit, setLimit] = useState(PAGE);
  const queued = useQueue(limit);
  const parked = useJobs({ state: ["held", "waiting"], limit: 200 });
  const { explain } = useSearch({ from: "/queue" });
  const navigate = useNavigate({ from: "/queue" });
  const show = useCallback(
    (id: number) => void navigate({ search: { explain: id }, resetScroll: false }),
    [navigate],
  );
  const steady = useSteady(byPosition(queued.data?.jobs ?? []));
  const line = steady.shown;
  const total = useCounts().data?.counts["queued"] ?? line.length;
  const rest = parked.data?.jobs ?? [];

  return (
    <>
      <PageHeader
        title="Queue"
        note={
          queued.data &&
          (line.length === 0
            ? "no jobs are waiting"
            : `${plural(total, "job")} queued${total > line.length ? `, first ${line.length} shown` : ""}`)
        }
      />
      <BerthPlan />
      {queued.isError && !queued.data ? (
        <ErrorMessage error={queued.error} retry={() => void queued.refetch()} />
      ) : !queued.data ? (
        <Skeleton rows={6} />
      ) : line.length === 0 && rest.length === 0 ? (
        <EmptyState title="No jobs are waiting">
          A job submitted now starts at once if enough GPUs are free.{" "}
          <Link to="/submit" className="text-accent underline">
            Submit a job
          </Link>
        </EmptyState>
      ) : (
        <>
          {line.length > 0 && (
            <div {...steady.handlers}>
              <ChangedPill changes={steady.changes} release={steady.release} />
              <QueueTable title="Waiting for GPUs" first="Position" jobs={line} explain={show} />
            </div>
          )}
          {total > line.length && limit < MOST && (
            <div className="mb-5 text-center">
              <Button disabled={queued.isFetching} onClick={() => setLimit(Math.min(MOST, limit + 200))}>
                Show more of the queue
              </Button>
            </div>
          )}
          {rest.length > 0 && (
            <Section title="Held or waiting" note="on hold, waiting for another job, or for their start time">
              <QueueTable title="Held and waiting jobs" first="State" jobs={rest} explain={show} />
            </Section>
          )}
        </>
      )}
      {explain !== undefined && (
        <ExplainDialog id={explain} onClose={() => void navigate({ search: {}, resetScroll: false })} />
      )}
    </>
  );
}

function QueueTable({
  title,
  first,
  jobs,
  explain,
}: {
  title: string;
  /** First column: the position in the queue, or the state that keeps a job out of it. */
  first: "Position" | "State";
  jobs: readonly Job[];
  explain: (id: number) => void;
}) {
  return (
    <div className="panel mb-5 relative overflow-x-auto" tabIndex={0} role="region" aria-label={title}>
      <table className="w-full text-sm">
        <caption className="sr-only">{title}</caption>
        <thead className="text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
            <th className={first === "Position" ? "text-right" : ""}>{first}</th>
            <th>Job</th>
            <th className="max-sm:hidden">User</th>
            <th className="text-right max-sm:hidden">GPUs</th>
            <th className="text-right max-sm:hidden">Priority</th>
            <th className="whitespace-nowrap max-sm:hidden">Submitted</th>
            <th className="max-sm:hidden">Expected start</th>
            <th className="max-sm:hidden">Why it waits</th>
            <th className="max-sm:hidden">
              <span className="sr-only">Explain</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <QueueRow key={job.id} job={job} first={first} explain={explain} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Drawn again only when its job changed. */
const QueueRow = memo(function QueueRow({
  job,
  first,
  explain,
}: {
  job: Job;
  first: "Position" | "State";
  explain: (id: number) => void;
}) {
  return (
    <tr className="border-t border-line hover:bg-hover [&>td]:px-3 [&>td]:py-1.5">
      <td className={clsx("max-sm:align-top", first === "Position" && "text-right font-semibold tabular")}>
        {first === "Position" ? (job.position ?? "–") : <StateBadge job={job} />}
      </td>
      <td className="max-sm:w-full max-sm:max-w-0 sm:max-w-64 sm:min-w-36">
        <JobLink job={job} />
        <Narrow job={job} explain={explain} />
      </td>
      <td className="max-sm:hidden">{job.user}</td>
      <td className="text-right whitespace-nowrap tabular max-sm:hidden">
        {job.gpus}
        {job.gpu_memory != null && <span className="text-muted"> × {bytes(job.gpu_memory)}</span>}
      </td>
      <td className="text-right tabular max-sm:hidden">{job.priority}</td>
      <td className="max-sm:hidden">
        <Ago time={job.queued_at} />
      </td>
      <td className="max-sm:hidden">
        <ExpectedStart job={job} />
      </td>
      <td className="min-w-56 text-muted max-sm:hidden">
        <Message parts={job.reason_parts} text={job.reason ?? "–"} />
      </td>
      <td className="text-right max-sm:hidden">
        <ExplainButton id={job.id} explain={explain} />
      </td>
    </tr>
  );
});

/** On a phone what the other columns say stands beneath the name: when it starts, and why not yet. */
function Narrow({ job, explain }: { job: Job; explain: (id: number) => void }) {
  return (
    <div className="flex flex-col gap-1 pb-1 text-xs sm:hidden">
      <span className="text-muted">
        {job.user} · {plural(job.gpus, "GPU")} · submitted <Ago time={job.queued_at} />
      </span>
      <ExpectedStart job={job} />
      {job.reason && (
        <span className="text-muted">
          <Message parts={job.reason_parts} text={job.reason} />
        </span>
      )}
      <span>
        <ExplainButton id={job.id} explain={explain} />
      </span>
    </div>
  );
}

function ExplainButton({ id, explain }: { id: number; explain: (id: number) => void }) {
  return (
    <Button small onClick={() => explain(id)} aria-label={`Explain job ${id}`}>
      Explain
    </Button>
  );
}
