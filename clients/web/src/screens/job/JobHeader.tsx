import { Link } from "@tanstack/react-router";
import { useExplanation } from "@/api/queries";
import type { Job } from "@/api/types";
import { buttonLook } from "@/components/Button";
import { ExplanationView } from "@/components/ExplanationView";
import { JobDot, StateBadge } from "@/components/StateBadge";
import { Message } from "@/components/Message";
import { Ago, Elapsed, TimeLeft } from "@/components/Time";
import { bytes, plural } from "@/format/units";
import { ACTIVE_STATES, PENDING_STATES, jobColor, limitEnd, savedAt } from "@/model/jobs/job";
import { ranges } from "@/model/gpus/topology";
import { JobActions } from "./JobActions";
import { JobSteps } from "./JobSteps";

export function JobHeader({ job }: { job: Job }) {
  const labels = Object.entries(job.labels ?? {});
  const saved = savedAt(job);
  return (
    <header className="mb-3">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
        <h1 className="flex min-w-0 items-center gap-2 text-lg font-semibold">
          <JobDot color={jobColor(job.id)} />
          <span className="tabular font-normal text-muted">{job.id}</span>
          <span className="truncate">{job.name}</span>
        </h1>
        <StateBadge job={job} />
        <div className="ml-auto flex flex-wrap items-center gap-2">
          <Link to="/submit" search={{ like: job.id }} className={buttonLook("plain", true)}>
            Submit a copy
          </Link>
          <JobActions job={job} />
        </div>
      </div>
      <p className="mt-1 flex flex-wrap gap-x-3 gap-y-1 text-sm text-muted">
        <Link to="/jobs" search={{ user: job.user }} className="hover:underline">
          {job.user}
        </Link>
        <span>
          {plural(job.gpus, "GPU")}
          {(job.gpu_indices ?? []).length > 0 && `: ${ranges(job.gpu_indices ?? [])}`}
        </span>
        {job.started_at && (
          <span>
            {ACTIVE_STATES.has(job.state) ? "running for" : "ran"}{" "}
            <Elapsed
              from={job.started_at}
              to={ACTIVE_STATES.has(job.state) ? null : job.ended_at}
              running={ACTIVE_STATES.has(job.state)}
            />
          </span>
        )}
        {ACTIVE_STATES.has(job.state) && <TimeLeft until={limitEnd(job)} />}
        {job.share && <span>a share of {bytes(job.gpu_memory)}</span>}
        {saved && ACTIVE_STATES.has(job.state) && (
          <span>
            last checkpoint <Ago time={saved} />
          </span>
        )}
        {labels.map(([key, value]) => (
          <Link
            key={key}
            to="/jobs"
            search={{ label: `${key}=${value}` }}
            className="rounded bg-sunken px-1.5 text-xs leading-5 hover:text-ink"
          >
            {key}={value}
          </Link>
        ))}
      </p>
      <JobSteps job={job} />
      {(job.warnings ?? []).map((warning, i) => (
        <p key={warning} className="mt-2 text-sm text-warn">
          <Message parts={job.warnings_parts?.[i]} text={warning} />
        </p>
      ))}
      {job.message && job.state !== "succeeded" && !PENDING_STATES.has(job.state) && (
        <p className="mt-2 text-sm">
          <Message parts={job.message_parts} text={job.message} />
        </p>
      )}
      {PENDING_STATES.has(job.state) && <Why id={job.id} />}
    </header>
  );
}

function Why({ id }: { id: number }) {
  const explanation = useExplanation(id).data;
  if (!explanation) return null;
  return (
    <section aria-label="Why it waits" className="panel mt-3 px-4 py-3">
      <h2 className="sr-only">Why it waits</h2>
      <ExplanationView explanation={explanation} />
    </section>
  );
}
