import { useNavigate } from "@tanstack/react-router";
import clsx from "clsx";
import { useEffect, useRef, useState } from "react";
import type { Job } from "@/api/types";
import { JobLink } from "@/components/JobLink";
import { SortHeader } from "@/components/SortHeader";
import { StateBadge } from "@/components/StateBadge";
import { Ago } from "@/components/Time";
import { plural } from "@/format/units";
import { useActions } from "@/keys/useActions";
import type { Sort } from "@/model/table";
import { COLUMNS } from "./columns";
import { JobCell } from "./JobCell";

interface Props {
  jobs: readonly Job[];
  columns: readonly string[];
  sort: Sort | undefined;
  onSort: (sort: Sort) => void;
  picked: ReadonlySet<number>;
  onPick: (picked: ReadonlySet<number>) => void;
  onLabel: (label: string) => void;
}

/** Jobs as rows; j and k move, Enter opens, x selects. */
export function JobsTable({ jobs, columns, sort, onSort, picked, onPick, onLabel }: Props) {
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
  const kinds = COLUMNS.filter((one) => one.name === "job" || columns.includes(one.name));
  // Without another order they come as they were submitted.
  const order = sort ?? { key: "id", down: true };
  return (
    <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Jobs">
      <table className="w-full text-sm">
        <caption className="sr-only">Jobs</caption>
        <thead className="text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1 [&>th]:font-medium">
            <th className="w-8">
              <input
                type="checkbox"
                className="size-4"
                aria-label="Select all listed jobs"
                checked={all}
                onChange={() => onPick(all ? new Set() : new Set(jobs.map((j) => j.id)))}
              />
            </th>
            {kinds.map((kind) =>
              kind.sort === undefined ? (
                <th key={kind.name} className={clsx("max-sm:hidden", kind.right && "text-right")}>
                  {kind.title}
                </th>
              ) : (
                <SortHeader
                  key={kind.name}
                  name={kind.sort}
                  sort={order}
                  onSort={onSort}
                  firstDown={kind.firstDown ?? false}
                  right={kind.right ?? false}
                  title={kind.about}
                  className={kind.name === "job" ? "" : "max-sm:hidden"}
                >
                  {kind.title}
                </SortHeader>
              ),
            )}
          </tr>
        </thead>
        <tbody ref={rows}>
          {jobs.map((job, i) => (
            <tr
              key={job.id}
              className={clsx(
                "border-t border-line hover:bg-hover [&>td]:px-3 [&>td]:py-1",
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
              {kinds.map((kind) => (
                <td
                  key={kind.name}
                  className={clsx(
                    WIDTHS[kind.name],
                    kind.right && "text-right tabular whitespace-nowrap",
                    kind.name === "job" ? "max-sm:w-full max-sm:max-w-0" : "max-sm:hidden",
                  )}
                >
                  {kind.name === "job" ? (
                    <>
                      <JobLink job={job} />
                      <Narrow job={job} />
                    </>
                  ) : (
                    <JobCell job={job} column={kind.name} onLabel={onLabel} />
                  )}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const WIDTHS: Record<string, string> = {
  job: "max-w-72",
  state: "max-w-60",
  labels: "max-w-72",
  reason: "min-w-40 max-w-80",
  command: "max-w-80",
};

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
