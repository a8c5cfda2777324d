import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import type { Gpu } from "@/api/types";
import { JobDot } from "@/components/StateBadge";
import { Message } from "@/components/Message";
import { TimeLeft } from "@/components/Time";
import { celsius, percent, roundGib, watts } from "@/format/units";
import { jobColor } from "@/model/jobs/job";
import { jobsOn } from "@/model/gpus/topology";
import { lookOf } from "./holders";

interface Props {
  gpus: readonly Gpu[];
  lit: number | null;
  onLight: (jobId: number | null) => void;
}

/** GPUs as one line each, for boxes with many: state, holder, time left, memory, load. */
export function DenseGpus({ gpus, lit, onLight }: Props) {
  return (
    <ul className="columns-1 gap-x-6 text-xs lg:columns-2 2xl:columns-3" data-dense>
      {gpus.map((gpu) => (
        <li key={gpu.uuid} className="break-inside-avoid">
          <DenseGpu gpu={gpu} lit={lit} onLight={onLight} />
        </li>
      ))}
    </ul>
  );
}

function DenseGpu({ gpu, lit, onLight }: Omit<Props, "gpus"> & { gpu: Gpu }) {
  const look = lookOf(gpu);
  const Icon = look.icon;
  const jobs = jobsOn(gpu);
  const first = jobs[0];
  const jobId = first?.job_id ?? null;
  const used = gpu.memory_used_bytes;
  return (
    <Link
      to="/"
      search={{ gpu: gpu.index }}
      resetScroll={false}
      data-gpu={gpu.index}
      data-holder={gpu.holder.kind}
      onMouseEnter={() => onLight(jobId)}
      onMouseLeave={() => onLight(null)}
      onFocus={() => onLight(jobId)}
      onBlur={() => onLight(null)}
      className={clsx(
        "grid min-h-6 grid-cols-[2rem_1rem_minmax(0,1fr)_auto_3.5rem_2.75rem] items-center gap-x-2 rounded px-1 tabular hover:bg-hover",
        lit !== null && jobId === lit && "bg-accent-soft",
      )}
    >
      <span className="text-right font-semibold">{gpu.index}</span>
      <span className={look.text} title={look.word}>
        <Icon aria-hidden className="size-3.5" strokeWidth={2.25} />
        <span className="sr-only">{look.word}</span>
      </span>
      <span className="flex min-w-0 items-center gap-1.5">
        {first ? (
          <>
            <JobDot color={jobColor(jobId ?? 0)} />
            <span className="min-w-0 truncate" title={first.job_name ?? ""}>
              <span className="text-muted">{jobId}</span> {first.job_name}{" "}
              <span className="text-muted">{first.user}</span>
              {jobs.length > 1 && <span className="text-muted"> and {jobs.length - 1} more</span>}
            </span>
          </>
        ) : gpu.holder.kind === "free" ? (
          <span className="truncate text-muted">{gpu.draining ? "draining" : "free"}</span>
        ) : (
          <span className="truncate">
            <Message parts={gpu.holder.sentence_parts} text={gpu.holder.sentence} links={false} />
          </span>
        )}
      </span>
      <span className="text-right text-muted">
        {first?.until != null && jobs.length === 1 && <TimeLeft until={first.until} />}
      </span>
      <span
        className="text-right"
        title={`memory, of ${roundGib(gpu.memory_total_bytes)} GiB; ${celsius(gpu.temperature_c)}, ${watts(gpu.power_w)}`}
      >
        {used == null ? "–" : `${roundGib(used)} GiB`}
      </span>
      <span className="text-right" title="Share of the last sample in which a kernel ran">
        {percent(gpu.utilization_percent)}
      </span>
    </Link>
  );
}
