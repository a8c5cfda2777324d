import { Link } from "@tanstack/react-router";
import { JobDot } from "@/components/StateBadge";
import { jobColor } from "@/model/jobs/job";

/** A job in a table: its colour, number and name, on the way to its page. */
export function JobLink({ job }: { job: { id: number; name: string } }) {
  return (
    <Link
      to="/jobs/$jobId"
      params={{ jobId: String(job.id) }}
      title={job.name}
      className="flex min-h-6 min-w-0 items-center gap-2 hover:underline"
    >
      <JobDot color={jobColor(job.id)} />
      <span className="tabular text-muted">{job.id}</span>
      <span className="min-w-0 truncate">{job.name}</span>
    </Link>
  );
}
