import type { Gpu, Holder, Reservation } from "@/api/types";
import { JobDot } from "@/components/StateBadge";
import { Ago, TimeLeft, useNow } from "@/components/Time";
import { Message } from "@/components/Message";
import { RunLeft } from "@/components/ExpectedStart";
import { bytes, roundGib } from "@/format/units";
import { jobColor } from "@/model/jobs/job";
import { whose } from "@/model/gpus/reservations";
import { jobsOn } from "@/model/gpus/topology";
import { plainText } from "@/model/message";

/** Holder of a GPU and its time left, reservation, and processes outside any lease. */
export function HolderLines({ gpu }: { gpu: Gpu }) {
  const { holder } = gpu;
  const now = useNow();
  if (holder.kind === "job") {
    if (gpu.memory_leased_bytes != null) return <Shares gpu={gpu} />;
    return (
      <span className="min-w-0 text-sm leading-snug">
        <span className="block truncate" title={holder.job_name ?? ""}>
          <span className="tabular text-muted">{holder.job_id}</span> {holder.job_name}
        </span>
        <span className="flex justify-between gap-2 text-xs text-muted">
          <span className="truncate">{holder.user}</span>
          <HolderTimeLeft holder={holder} />
        </span>
        {gpu.draining && gpu.drain_reason && (
          <span className="block truncate text-xs text-violet">draining: {gpu.drain_reason}</span>
        )}
        {gpu.reservations?.[0] && (
          <span className="block truncate text-xs text-violet">
            <Reserved reservation={gpu.reservations[0]} />
          </span>
        )}
        <Blocked gpu={gpu} />
      </span>
    );
  }
  if (holder.kind === "free") {
    return (
      <span className="line-clamp-2 text-xs text-muted">
        {gpu.draining ? (
          <>
            {gpu.drain_reason ?? "no new jobs start here"}
            {gpu.drain_until && (
              <>
                , ends <Ago time={gpu.drain_until} />
              </>
            )}
          </>
        ) : gpu.reservations?.[0] ? (
          <Reserved reservation={gpu.reservations[0]} />
        ) : (
          gpu.name
        )}
      </span>
    );
  }
  const problem = holder.kind === "unhealthy" ? gpu.health?.problems?.[0] : undefined;
  return (
    <span
      className="line-clamp-3 text-xs wrap-anywhere"
      title={plainText(holder.sentence_parts, holder.sentence, now)}
    >
      <Message
        parts={problem ? undefined : holder.sentence_parts}
        text={problem ?? holder.sentence}
        links={false}
      />
    </span>
  );
}

/** By the job's own progress where that tells, else by its time limit. */
function HolderTimeLeft({ holder }: { holder: Holder }) {
  if (holder.progress?.seconds_left == null) return <TimeLeft until={holder.until} />;
  return (
    <span className="tabular whitespace-nowrap">
      <RunLeft progress={holder.progress} />
    </span>
  );
}

const SHOWN = 3;

/** Jobs that share a GPU, each with its use of its share. */
function Shares({ gpu }: { gpu: Gpu }) {
  const jobs = jobsOn(gpu);
  const now = useNow();
  const room = gpu.memory_to_share_bytes ?? 0;
  return (
    <span className="min-w-0 text-xs leading-snug">
      {jobs.slice(0, SHOWN).map((job) => (
        <span
          key={job.attempt}
          className="flex items-center gap-1.5"
          title={plainText(job.sentence_parts, job.sentence, now)}
        >
          <JobDot color={jobColor(job.job_id ?? 0)} />
          <span className="min-w-0 flex-1 truncate">
            <span className="tabular text-muted">{job.job_id}</span> {job.job_name}{" "}
            <span className="text-muted">{job.user}</span>
          </span>
          <span className="tabular whitespace-nowrap text-muted">
            {job.memory_used_bytes == null ? "–" : roundGib(job.memory_used_bytes)} of{" "}
            {bytes(job.memory_bytes)}
          </span>
        </span>
      ))}
      <span className="block text-muted">
        {jobs.length > SHOWN && `and ${jobs.length - SHOWN} more; `}
        {room > 0
          ? `${bytes(room)} left to share`
          : gpu.draining
            ? "draining, no new shares"
            : "no room left"}
      </span>
      <Blocked gpu={gpu} />
    </span>
  );
}

/** What keeps new jobs off a GPU beside its jobs: an external process with its user and pid, a fault. */
function Blocked({ gpu }: { gpu: Gpu }) {
  const now = useNow();
  if (gpu.blocked == null) return null;
  const text = plainText(gpu.blocked_parts, gpu.blocked, now);
  return (
    <span className="line-clamp-2 block text-xs wrap-anywhere text-warn" title={text} data-blocked>
      also {text}
    </span>
  );
}

/** Users of a reservation, and its start or end. */
export function Reserved({ reservation }: { reservation: Reservation }) {
  return (
    <>
      reserved for {whose(reservation)},{" "}
      {reservation.active ? (
        <>
          ends <Ago time={reservation.ends_at} />
        </>
      ) : (
        <>
          begins <Ago time={reservation.starts_at} />
        </>
      )}
      {reservation.reason && `: ${reservation.reason}`}
    </>
  );
}
