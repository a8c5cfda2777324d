import type { Job } from "@/api/types";
import { Message } from "@/components/Message";
import { RunLeft } from "@/components/ExpectedStart";
import { StateBadge } from "@/components/StateBadge";
import { Ago, Elapsed } from "@/components/Time";
import { percent } from "@/format/units";
import { short } from "@/model/jobs/receipt";
import { commandLine, lastRun, PENDING_STATES } from "@/model/jobs/job";
import { ranges } from "@/model/gpus/topology";

/** What a column of the jobs list says of a job. */
export function JobCell({
  job,
  column,
  onLabel,
}: {
  job: Job;
  column: string;
  onLabel: (label: string) => void;
}) {
  const usage = job.usage;
  switch (column) {
    case "state":
      return <StateBadge job={job} />;
    case "user":
      return job.user;
    case "gpus":
      return (
        <span className="whitespace-nowrap tabular">
          {job.gpus}
          {(job.gpu_indices ?? []).length > 0 && (
            <span className="text-muted"> on {ranges(job.gpu_indices ?? [])}</span>
          )}
        </span>
      );
    case "labels":
      return <Labels job={job} onLabel={onLabel} />;
    case "priority":
      return job.priority;
    case "submitted":
      return <Ago time={job.queued_at} />;
    case "ran":
      return <Ran job={job} />;
    case "ended":
      return <Ago time={job.ended_at} />;
    case "reason":
      return <Reason job={job} />;
    case "progress":
      return job.progress ? (
        <>
          {percent(Math.floor(job.progress.fraction * 100))}
          {job.progress.seconds_left != null && (
            <span className="text-muted">
              {" · "}
              <RunLeft progress={job.progress} />
            </span>
          )}
        </>
      ) : (
        <Absent />
      );
    case "gpu_hours":
      return usage ? short(usage.gpu_hours) : <Absent />;
    case "idle":
      return usage?.idle_percent == null ? <Absent /> : percent(usage.idle_percent);
    case "energy":
      return usage?.energy_kwh == null ? <Absent /> : `${short(usage.energy_kwh)} kWh`;
    case "limit":
      return job.time_limit ?? <Absent />;
    default:
      return (
        <code className="block truncate text-xs text-muted" title={commandLine(job)}>
          {commandLine(job)}
        </code>
      );
  }
}

function Absent() {
  return <span className="text-muted">–</span>;
}

/** Why it waits, or how it ended. */
function Reason({ job }: { job: Job }) {
  const waits = PENDING_STATES.has(job.state);
  const text = waits ? job.reason : job.state === "succeeded" ? null : job.message;
  if (!text) return <Absent />;
  return (
    <span className="line-clamp-2 text-xs text-muted" title={text}>
      <Message parts={waits ? job.reason_parts : job.message_parts} text={text} />
    </span>
  );
}

function Ran({ job }: { job: Job }) {
  const run = lastRun(job);
  if (!run) return <span className="text-muted">–</span>;
  return <Elapsed from={run.from} to={run.to} />;
}

function Labels({ job, onLabel }: { job: Job; onLabel: (label: string) => void }) {
  const labels = Object.entries(job.labels ?? {});
  if (labels.length === 0) return <Absent />;
  return (
    <span className="flex gap-1 overflow-hidden">
      {labels.map(([key, value]) => (
        <button
          key={key}
          type="button"
          title={`Only jobs with ${key}=${value}`}
          onClick={() => onLabel(`${key}=${value}`)}
          className="min-h-6 max-w-48 min-w-10 truncate rounded bg-sunken px-1.5 text-xs text-muted hover:text-ink"
        >
          {key}={value}
        </button>
      ))}
    </span>
  );
}
