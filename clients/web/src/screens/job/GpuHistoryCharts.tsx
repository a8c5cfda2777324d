import { useQuery } from "@tanstack/react-query";
import { api } from "@/api/endpoints";
import type { Attempt, Job } from "@/api/types";
import { Chart } from "@/charts/Chart";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";

const GIB = 1024 ** 3;
const PANELS = [
  { field: "utilization_percent", title: "GPU utilisation", unit: "%", scale: 1, range: [0, 100] as const },
  { field: "memory_used_bytes", title: "GPU memory", unit: "GiB", scale: 1 / GIB, range: undefined },
  { field: "power_w", title: "Power", unit: "W", scale: 1, range: undefined },
  { field: "temperature_c", title: "Temperature", unit: "°C", scale: 1, range: undefined },
] as const;
const HUES = [215, 35, 145, 320, 90, 265, 0, 180];

/** Utilisation, memory, power and temperature of the attempt's GPUs over its life. */
export function GpuHistoryCharts({
  job,
  attempt,
  growing,
  lastSeconds,
}: {
  job: Job;
  attempt: Attempt;
  growing: boolean;
  /** Only so long before the end. */
  lastSeconds?: number;
}) {
  const history = useQuery({
    queryKey: ["job-gpu-history", job.id, attempt.number, lastSeconds ?? null],
    queryFn: ({ signal }) => api.jobGpuHistory(job.id, attempt.number, lastSeconds, signal),
    refetchInterval: growing ? 5_000 : false,
    enabled: attempt.gpu_uuids.length > 0,
  });
  if (attempt.gpu_uuids.length === 0) return null;
  const data = history.data;
  const x = (data?.times ?? []).map((time) => Date.parse(time) / 1000);
  return (
    <Section
      title={lastSeconds === undefined ? "GPUs" : "GPUs in the two minutes before"}
      note="utilisation only shows that a kernel ran: read it together with memory and power"
    >
      {history.isError && !data ? (
        <ErrorMessage error={history.error} retry={() => void history.refetch()} />
      ) : !data ? (
        <Skeleton rows={1} height={180} />
      ) : x.length < 2 ? (
        <EmptyState
          title={
            growing
              ? "The history starts in a moment"
              : "Too short for a history: GPUs are sampled every 5 seconds"
          }
        />
      ) : (
        <div className="grid gap-3 lg:grid-cols-2">
          {PANELS.map((panel) => (
            <Chart
              key={panel.field}
              title={panel.title}
              unit={panel.unit}
              x={x}
              xKind="time"
              height={180}
              sync={`gpus-${attempt.id}`}
              {...(panel.range ? { range: panel.range } : {})}
              series={attempt.gpu_uuids.map((uuid, i) => ({
                label: `GPU ${attempt.gpu_indices[i] ?? "?"}`,
                color: `oklch(var(--job-l) 0.13 ${HUES[i % HUES.length]})`,
                values: (data.gpus[uuid]?.[panel.field] ?? x.map(() => null)).map((v) =>
                  v === null ? undefined : Math.round(v * panel.scale * 100) / 100,
                ),
              }))}
            />
          ))}
        </div>
      )}
    </Section>
  );
}
