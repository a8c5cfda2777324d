import { Link } from "@tanstack/react-router";
import { OctagonAlert } from "lucide-react";
import { useExplanation } from "@/api/queries";
import type { Job } from "@/api/types";
import { buttonLook } from "@/components/Button";
import { ExplanationView } from "@/components/ExplanationView";
import { JobDot, StateBadge } from "@/components/StateBadge";
import { Message } from "@/components/Message";
import { RunLeft } from "@/components/ExpectedStart";
import { Ago, Elapsed, TimeLeft } from "@/components/Time";
import { bytes, count, percent, plural } from "@/format/units";
import { ACTIVE_STATES, PENDING_STATES, jobColor, lastRun, limitEnd, savedAt } from "@/model/jobs/job";
import { ranges } from "@/model/gpus/topology";
import { JobActions } from "./JobActions";
import { JobSteps } from "./JobSteps";
import { JobWhatIf } from "./JobWhatIf";
import { Receipt } from "./Receipt";

export function JobHeader({ job }: { job: Job }) {
  const labels = Object.entries(job.labels ?? {});
  const saved = savedAt(job);
  const run = lastRun(job);
  return (
    <header className="mb-3">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
        <h1 className="flex min-w-0 items-center gap-2 text-lg font-semibold">
          <JobDot color={jobColor(job.id)} />
          <span className="tabular font-normal text-muted">{job.id}</span>
          <span className="min-w-0 truncate" title={job.name}>
            {job.name}
          </span>
        </h1>
        <StateBadge job={{ state: job.state, outcome: job.outcome ?? null }} />
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
        {run && (
          <span>
            {run.to === undefined ? "running for" : PENDING_STATES.has(job.state) ? "last ran" : "ran"}{" "}
            <Elapsed from={run.from} to={run.to} running={run.to === undefined} />
          </span>
        )}
        {ACTIVE_STATES.has(job.state) && <Far job={job} />}
        {ACTIVE_STATES.has(job.state) && <TimeLeft until={limitEnd(job)} />}
        {job.share && <span>a share of {bytes(job.gpu_memory)}</span>}
        {saved && ACTIVE_STATES.has(job.state) && (
          <span>
            last checkpoint <Ago time={saved} />
          </span>
        )}
        {(job.links ?? []).map((link) => (
          <a
            key={link.url}
            href={link.url}
            target="_blank"
            rel="noopener noreferrer"
            title={link.url}
            className="max-w-full truncate underline hover:text-ink"
          >
            {link.name}
          </a>
        ))}
        {labels.map(([key, value]) => (
          <Link
            key={key}
            to="/jobs"
            search={{ label: `${key}=${value}` }}
            className="max-w-full truncate rounded bg-sunken px-1.5 text-xs leading-5 hover:text-ink"
          >
            {key}={value}
          </Link>
        ))}
      </p>
      <JobSteps job={job} />
      <Receipt job={job} />
      {(job.alerts ?? []).map((alert, i) => (
        <p key={alert} role="alert" className="mt-2 text-sm font-semibold text-warn">
          <Message parts={job.alerts_parts?.[i]} text={alert} />
        </p>
      ))}
      {(job.warnings ?? []).map((warning, i) => (
        <p key={warning} className="mt-2 text-sm text-warn">
          <Message parts={job.warnings_parts?.[i]} text={warning} />
        </p>
      ))}
      {job.trouble && (
        <p role="status" className="mt-2 flex items-start gap-2 text-sm font-medium text-bad" data-trouble>
          <OctagonAlert aria-hidden className="mt-0.5 size-4 shrink-0" />
          <Message parts={job.trouble.sentence_parts} text={job.trouble.sentence} />
        </p>
      )}
      {job.message && job.state !== "succeeded" && (
        <p className={PENDING_STATES.has(job.state) ? "mt-2 text-sm text-warn" : "mt-2 text-sm"} data-message>
          {PENDING_STATES.has(job.state) && <>Attempt {(job.attempts ?? []).length} ended: </>}
          <Message parts={job.message_parts} text={job.message} />
        </p>
      )}
      {PENDING_STATES.has(job.state) && <Why job={job} />}
    </header>
  );
}

/** "step 3,120 of 5,000 (62%), 1h 20m to 1h 40m left", where the run tells how far it is. */
function Far({ job }: { job: Job }) {
  const { progress } = job;
  if (!progress) return null;
  return (
    <span className="tabular" data-progress>
      step {count(progress.step)} of {count(progress.total)} ({percent(Math.floor(progress.fraction * 100))})
      {progress.seconds_left != null && ", "}
      <RunLeft progress={progress} />
    </span>
  );
}

function Why({ job }: { job: Job }) {
  const explanation = useExplanation(job.id).data;
  if (!explanation) return null;
  return (
    <section aria-label="Why it waits" className="panel mt-3 px-4 py-3">
      <h2 className="sr-only">Why it waits</h2>
      <ExplanationView explanation={explanation} />
      {job.gpus > 0 && <JobWhatIf job={job} />}
    </section>
  );
}
