import { Link } from "@tanstack/react-router";
import { TriangleAlert } from "lucide-react";
import type { Gpu, Job, Progress } from "@/api/types";
import { EmptyState } from "@/components/Feedback";
import { Bar } from "@/components/Meter";
import { JobLink } from "@/components/JobLink";
import { RunLeft } from "@/components/ExpectedStart";
import { StateBadge } from "@/components/StateBadge";
import { Elapsed, TimeLeft, useNow } from "@/components/Time";
import { count, percent } from "@/format/units";
import { limitEnd, progressOf, runSeconds } from "@/model/jobs/job";
import { IDLE_MINUTES, idleGpus } from "@/model/jobs/idle";
import { named, ranges } from "@/model/gpus/topology";
import { parseDuration } from "@/format/duration";

interface Props {
  jobs: readonly Job[];
  gpus: readonly Gpu[];
  history: (uuid: string) => readonly (number | null)[];
  onLight: (id: number | null) => void;
}

/** Table of the jobs that hold GPUs. */
export function RunningJobs({ jobs, gpus, history, onLight }: Props) {
  if (jobs.length === 0) {
    return (
      <EmptyState title="No running jobs">
        <Link to="/submit" className="text-accent underline">
          Submit a job
        </Link>
        , or run on the box:{" "}
        <code>berth submit --gpus {Math.max(1, Math.min(4, gpus.length))} -- deepspeed train.py</code>
      </EmptyState>
    );
  }
  return (
    <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Running jobs">
      <table className="w-full text-sm">
        <caption className="sr-only">Running jobs</caption>
        <thead className="text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
            <th>Job</th>
            <th className="max-sm:hidden">User</th>
            <th>GPUs</th>
            <th className="max-sm:hidden">State</th>
            <th className="text-right">Busy</th>
            <th className="max-sm:hidden">Running for</th>
            <th className="w-1/5">Time left</th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr
              key={job.id}
              onMouseEnter={() => onLight(job.id)}
              onMouseLeave={() => onLight(null)}
              className="border-t border-line hover:bg-hover [&>td]:px-3 [&>td]:py-1.5"
            >
              <td className="max-w-64 max-sm:max-w-36">
                <JobLink job={job} />
                <span className="text-xs text-muted sm:hidden">{job.user}</span>
              </td>
              <td className="max-sm:hidden">{job.user}</td>
              <td className="whitespace-nowrap tabular">
                {ranges(job.gpu_indices ?? []) || <span className="text-muted">none</span>}
              </td>
              <td className="max-sm:hidden">
                <StateBadge job={job} />
              </td>
              <td className="text-right whitespace-nowrap tabular">
                <Busy job={job} gpus={gpus} history={history} />
              </td>
              <td className="max-sm:hidden">
                <Elapsed from={job.started_at} running />
              </td>
              <td>
                <TimeLeftOf job={job} progress={progressOf(job, gpus)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Busy({ job, gpus, history }: Pick<Props, "gpus" | "history"> & { job: Job }) {
  const now = useNow();
  const own = gpus.filter((g) => (job.gpu_uuids ?? []).includes(g.uuid) && g.utilization_percent != null);
  if (own.length === 0) return <span className="text-muted">–</span>;
  const mean = own.reduce((sum, g) => sum + (g.utilization_percent ?? 0), 0) / own.length;
  const idle = idleGpus(job, history, now);
  if (idle.length > 0) {
    const all = idle.length === (job.gpu_uuids ?? []).length;
    return (
      <span
        className="inline-flex items-center gap-1 text-warn"
        title={
          all
            ? `All its GPUs were below 5 % for ${IDLE_MINUTES} minutes`
            : `${named(idle)} ${idle.length === 1 ? "was" : "were"} below 5 % for ${IDLE_MINUTES} minutes: does the command start a process for each GPU?`
        }
      >
        <TriangleAlert aria-hidden className="size-3.5" />
        {all ? "" : `${named(idle)} `}idle <span className="max-sm:hidden">{IDLE_MINUTES} min</span>
      </span>
    );
  }
  if (job.share)
    return (
      <span
        className="text-muted"
        title="Utilisation of the whole GPU: it is shared, and a share's own is not measured"
      >
        {percent(mean)} of GPU
      </span>
    );
  return <span title="Mean utilisation of its GPUs now">{percent(mean)}</span>;
}

/** By the job's own progress where that tells, else by its time limit. */
function TimeLeftOf({ job, progress }: { job: Job; progress: Progress | undefined }) {
  const now = useNow();
  if (!progress) return <LimitBar job={job} />;
  const end = limitEnd(job);
  const left = progress.seconds_left;
  const short = left != null && end !== undefined && now + left * 1000 > end;
  const done = `${count(progress.step)} of ${count(progress.total)}`;
  return (
    <span className="flex min-w-24 flex-col gap-1 sm:min-w-32" title={`${done}, from ${progress.source}`}>
      <Bar
        thin
        label={`${percent(progress.fraction * 100)} done: ${done}`}
        parts={[{ share: progress.fraction, className: short ? "bg-warn" : "bg-accent" }]}
      />
      <span className="text-xs text-muted tabular">
        {percent(Math.floor(progress.fraction * 100))}
        {left != null && ", "}
        <RunLeft progress={progress} />
        {short && end !== undefined && (
          <span className="block text-warn">
            limit: <TimeLeft until={end} />
          </span>
        )}
      </span>
    </span>
  );
}

function LimitBar({ job }: { job: Job }) {
  const now = useNow();
  const end = limitEnd(job);
  const limit = job.time_limit == null ? undefined : parseDuration(job.time_limit);
  if (end === undefined || limit === undefined)
    return (
      <span className="text-xs text-muted">
        {job.time_limit ? `limit ${job.time_limit}` : "no time limit"}
      </span>
    );
  const share = (runSeconds(job, now) ?? 0) / limit;
  return (
    <span className="flex min-w-24 flex-col gap-1 sm:min-w-32">
      <Bar
        thin
        label={`${percent(share * 100)} of the time limit ${job.time_limit} used`}
        parts={[{ share, className: share > 0.9 ? "bg-warn" : "bg-strong-line" }]}
      />
      <span className="text-xs text-muted">
        <TimeLeft until={end} /> of {job.time_limit}
      </span>
    </span>
  );
}
