import { useNavigate } from "@tanstack/react-router";
import clsx from "clsx";
import { useEffect, useRef, useState } from "react";
import type { Job } from "@/api/types";
import { JobLink } from "@/components/JobLink";
import { StateBadge } from "@/components/StateBadge";
import { Ago, Elapsed } from "@/components/Time";
import { plural } from "@/format/units";
import { useActions } from "@/keys/useActions";
import { commandLine, lastRun } from "@/model/jobs/job";
import { ranges } from "@/model/gpus/topology";

interface Props {
  jobs: readonly Job[];
  picked: ReadonlySet<number>;
  onPick: (picked: ReadonlySet<number>) => void;
  onLabel: (label: string) => void;
}

/** Jobs as rows; j and k move, Enter opens, x selects. */
export function JobsTable({ jobs, picked, onPick, onLabel }: Props) {
  const navigate = useNavigate();
  const [at, setAt] = useState(-1);
  const rows = useRef<HTMLTableSectionElement>(null);
  const current = jobs[at];
  const toggle = (id: number) => {
    const next = new Set(picked);
    if (!next.delete(id)) next.add(id);
    onPick(next);
  };
  useActions([
    { label: "Next job", keys: "j", run: () => setAt(Math.min(jobs.length - 1, at + 1)) },
    { label: "Previous job", keys: "k", run: () => setAt(Math.max(0, at - 1)) },
    {
      label: "Open the job",
      keys: "Enter",
      run: () => current && void navigate({ to: "/jobs/$jobId", params: { jobId: String(current.id) } }),
    },
    { label: "Select the job", keys: "x", run: () => current && toggle(current.id) },
  ]);
  useEffect(() => {
    if (at >= 0) rows.current?.rows[at]?.scrollIntoView({ block: "nearest" });
  }, [at]);
  const all = jobs.length > 0 && jobs.every((job) => picked.has(job.id));
  return (
    <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Jobs">
      <table className="w-full text-sm">
        <caption className="sr-only">Jobs, newest first</caption>
        <thead className="text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
            <th className="w-8">
              <input
                type="checkbox"
                className="size-4"
                aria-label="Select all listed jobs"
                checked={all}
                onChange={() => onPick(all ? new Set() : new Set(jobs.map((j) => j.id)))}
              />
            </th>
            <th aria-sort="descending">Job</th>
            <th className="max-sm:hidden">State</th>
            <th className="max-sm:hidden">User</th>
            <th className="max-sm:hidden">GPUs</th>
            <th className="max-sm:hidden">Submitted</th>
            <th className="max-sm:hidden">Ran</th>
            <th className="max-sm:hidden">Command</th>
          </tr>
        </thead>
        <tbody ref={rows}>
          {jobs.map((job, i) => (
            <tr
              key={job.id}
              className={clsx(
                "border-t border-line hover:bg-hover [&>td]:px-3 [&>td]:py-1.5",
                i === at && "bg-accent-soft",
              )}
              aria-current={i === at || undefined}
            >
              <td>
                <input
                  type="checkbox"
                  className="size-4"
                  aria-label={`Select job ${job.id}`}
                  checked={picked.has(job.id)}
                  onChange={() => toggle(job.id)}
                />
              </td>
              <td className="max-w-72 max-sm:w-full max-sm:max-w-0">
                <JobLink job={job} />
                <Narrow job={job} />
                <Labels job={job} onLabel={onLabel} />
              </td>
              <td className="max-w-60 max-sm:hidden">
                <StateBadge job={job} />
              </td>
              <td className="max-sm:hidden">{job.user}</td>
              <td className="whitespace-nowrap tabular max-sm:hidden">
                {job.gpus}
                {(job.gpu_indices ?? []).length > 0 && (
                  <span className="text-muted"> on {ranges(job.gpu_indices ?? [])}</span>
                )}
              </td>
              <td className="max-sm:hidden">
                <Ago time={job.queued_at} />
              </td>
              <td className="max-sm:hidden">
                <Ran job={job} />
              </td>
              <td className="max-w-80 max-sm:hidden">
                <code className="block truncate text-xs text-muted" title={commandLine(job)}>
                  {commandLine(job)}
                </code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Ran({ job }: { job: Job }) {
  const run = lastRun(job);
  if (!run) return <span className="text-muted">–</span>;
  return <Elapsed from={run.from} to={run.to} />;
}

/** On a phone what the other columns say stands beneath the name. */
function Narrow({ job }: { job: Job }) {
  return (
    <span className="mt-0.5 flex flex-wrap items-center gap-x-2 gap-y-1 pl-4.5 text-xs text-muted sm:hidden">
      <StateBadge job={job} />
      <span>
        {job.user} · {plural(job.gpus, "GPU")} · <Ago time={job.queued_at} />
      </span>
    </span>
  );
}

function Labels({ job, onLabel }: { job: Job; onLabel: (label: string) => void }) {
  const labels = Object.entries(job.labels ?? {});
  if (labels.length === 0) return null;
  return (
    <span className="mt-1 flex flex-wrap gap-1.5 pl-4.5">
      {labels.map(([key, value]) => (
        <button
          key={key}
          type="button"
          title={`Only jobs with ${key}=${value}`}
          onClick={() => onLabel(`${key}=${value}`)}
          className="max-w-48 min-h-6 truncate rounded bg-sunken px-1.5 text-xs text-muted hover:text-ink"
        >
          {key}={value}
        </button>
      ))}
    </span>
  );
}
