import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import type { Gpu } from "@/api/types";
import { Bar, Sparkline } from "@/components/Meter";
import { bytes, celsius, gib, percent, roundGib, watts } from "@/format/units";
import { jobColor } from "@/model/jobs/job";
import { jobsOn, memoryParts } from "@/model/gpus/topology";
import { HolderLines } from "./HolderLines";
import { lookOf } from "./holders";

interface Props {
  gpu: Gpu;
  history: readonly (number | null)[];
  lit: boolean;
  dimmed: boolean;
  onLight: (jobId: number | null) => void;
}

/** Card of one GPU: holder, time left, memory and utilisation. Opens its details. */
export function GpuCard({ gpu, history, lit, dimmed, onLight }: Props) {
  const look = lookOf(gpu);
  const Icon = look.icon;
  const job = gpu.holder.kind === "job" ? gpu.holder : undefined;
  const color = job?.job_id != null ? jobColor(job.job_id) : undefined;
  const memory = memoryParts(gpu);
  const holders = jobsOn(gpu);
  const memoryText = [
    gpu.memory_used_bytes == null
      ? `${gib(memory.total)} GiB of memory, use unknown`
      : `memory ${gib(gpu.memory_used_bytes)} of ${gib(memory.total)} GiB`,
    ...(memory.others > 0 && job ? [`${bytes(memory.others)} of it used by others`] : []),
    ...(gpu.memory_leased_bytes == null ? [] : [`${bytes(gpu.memory_leased_bytes)} leased in shares`]),
  ].join(", ");
  const jobId = job?.job_id ?? null;
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
      style={
        color
          ? { borderColor: color, boxShadow: lit ? `0 0 0 2px ${color}` : `inset 3px 0 0 ${color}` }
          : undefined
      }
      className={clsx(
        "flex h-full flex-col gap-1.5 rounded-lg border px-2 py-2 sm:px-3 transition-opacity",
        look.border,
        look.ground,
        dimmed && "opacity-55",
      )}
    >
      <span className="flex items-center gap-2">
        <span className="font-semibold whitespace-nowrap">GPU {gpu.index}</span>
        {gpu.node != null && (
          <span className="text-xs whitespace-nowrap text-muted tabular">
            {gpu.node}:{gpu.node_index}
          </span>
        )}
        <span className={clsx("ml-auto inline-flex items-center gap-1 text-xs font-medium", look.text)}>
          <Icon aria-hidden className="size-3.5" strokeWidth={2.25} />
          {look.word}
          {gpu.draining && gpu.holder.kind !== "free" && ", draining"}
        </span>
      </span>
      <HolderLines gpu={gpu} />
      <span className="mt-auto flex flex-col gap-1 pt-0.5">
        <Bar
          label={memoryText}
          parts={[
            ...memory.own.map((own, i) => {
              const id = holders[i]?.job_id;
              return {
                share: own / memory.total,
                className: "h-full",
                color: id == null ? "var(--color-accent)" : jobColor(id),
              };
            }),
            { share: memory.others / memory.total, className: "h-full striped bg-warn-soft text-warn" },
          ]}
        />
        <span className="flex flex-wrap justify-between gap-x-2 text-xs tabular text-muted">
          <span title={memoryText}>
            <span className="text-ink">{roundGib(gpu.memory_used_bytes)}</span> / {roundGib(memory.total)} GiB
          </span>
          <span title="Share of the last sample in which a kernel ran">
            {percent(gpu.utilization_percent)}
          </span>
          <span title="Temperature">{celsius(gpu.temperature_c)}</span>
          <span
            className="max-sm:hidden"
            title={gpu.power_limit_w == null ? "Power" : `Power, limit ${watts(gpu.power_limit_w)}`}
          >
            {watts(gpu.power_w)}
          </span>
        </span>
        <Sparkline
          values={history}
          label={`GPU ${gpu.index}: utilisation of the last hour`}
          {...(color ? { color } : {})}
        />
      </span>
    </Link>
  );
}
