import { Link } from "@tanstack/react-router";
import type { Job } from "@/api/types";
import { EmptyState } from "@/components/Feedback";
import { ExpectedStart } from "@/components/ExpectedStart";
import { Message } from "@/components/Message";
import { plural } from "@/format/units";
import { byPosition } from "@/model/jobs/queue";

/** First five jobs of the queue, with expected start and reason. */
export function NextUp({ jobs }: { jobs: readonly Job[] }) {
  const next = byPosition(jobs).slice(0, 5);
  if (next.length === 0) return <EmptyState title="No jobs are waiting" />;
  return (
    <ol className="panel divide-y divide-line">
      {next.map((job) => (
        <li key={job.id} className="px-3 py-2 text-sm">
          <div className="flex flex-wrap items-baseline gap-x-3 max-sm:relative max-sm:pl-8">
            <span
              className="w-5 text-right max-sm:absolute max-sm:left-0 font-semibold tabular"
              title="Position in the queue"
            >
              {job.position ?? "–"}
            </span>
            <Link
              to="/jobs/$jobId"
              params={{ jobId: String(job.id) }}
              className="min-w-0 truncate hover:underline"
            >
              <span className="tabular text-muted">{job.id}</span> {job.name}
            </Link>
            <span className="text-xs text-muted">
              {job.user} · {plural(job.gpus, "GPU")}
            </span>
            <span className="ml-auto text-xs">
              <ExpectedStart job={job} />
            </span>
          </div>
          {job.reason && (
            <p className="mt-0.5 pl-8 text-xs text-muted">
              <Message parts={job.reason_parts} text={job.reason} />
            </p>
          )}
        </li>
      ))}
    </ol>
  );
}
