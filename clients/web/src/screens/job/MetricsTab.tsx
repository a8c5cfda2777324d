import { useState } from "react";
import { useMetrics } from "@/api/queries";
import type { Attempt, Job } from "@/api/types";
import { Chart } from "@/charts/Chart";
import { Smoothing } from "@/charts/Smoothing";
import { Button, Toggle } from "@/components/Button";
import { download } from "@/components/download";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { count, metric } from "@/format/units";
import { byWeight, columns, smooth, toCsv, unitOf } from "@/model/runs/curves";
import { jobColor } from "@/model/jobs/job";
import { GpuHistoryCharts } from "./GpuHistoryCharts";

/** Metrics of the run as charts or as a table, and the history of its GPUs. */
export function MetricsTab({ job, attempt }: { job: Job; attempt: Attempt | undefined }) {
  const growing = attempt !== undefined && attempt.state !== "ended";
  const metrics = useMetrics(job.id, { ...(attempt ? { attempt: attempt.number } : {}), growing });
  const [weight, setWeight] = useState(0);
  const [byTime, setByTime] = useState(false);
  const [table, setTable] = useState(false);
  if (!attempt) return <EmptyState title="No metrics yet">Curves appear when the job starts.</EmptyState>;
  const data = metrics.data;
  const cols = data && columns(data);
  const names = byWeight(data?.names ?? []);
  const timed = cols !== undefined && cols.times.length > 0 && cols.times.every((t) => t !== null);
  const x = byTime && timed ? (cols.times as number[]) : (cols?.steps ?? []);
  const rows = () => [
    ["step", "time", ...names],
    ...(cols?.steps ?? []).map((step, i) => [
      step,
      cols?.times[i] ?? null,
      ...names.map((n) => cols?.series[n]?.[i] ?? null),
    ]),
  ];
  const allGone = names.length === 0;

  return (
    <>
      <Section
        title="Training"
        note={
          data &&
          !allGone && (
            <>
              from {data.source === "log" ? "lines like {'loss': …} in the log" : <code>metrics.jsonl</code>},{" "}
              {count(data.total)} points
              {data.total > data.points.length ? `, ${count(data.points.length)} drawn` : ""}
            </>
          )
        }
        actions={
          !allGone && (
            <>
              <Smoothing weight={weight} onWeight={setWeight} />
              {timed && (
                <Toggle on={byTime} onClick={() => setByTime(!byTime)}>
                  by time
                </Toggle>
              )}
              <Toggle on={table} onClick={() => setTable(!table)}>
                Table
              </Toggle>
              <Button
                small
                onClick={() => download(`job-${attempt.id}-metrics.csv`, toCsv(rows()), "text/csv")}
              >
                CSV
              </Button>
            </>
          )
        }
      >
        {metrics.isError && !data ? (
          <ErrorMessage error={metrics.error} retry={() => void metrics.refetch()} />
        ) : !data || !cols ? (
          <Skeleton rows={1} height={220} />
        ) : allGone ? (
          <EmptyState title={growing ? "No metrics yet" : "This run reported no metrics"}>
            Curves come from <code>metrics.jsonl</code> in the run directory (<code>BERTH_RUN_DIR</code>), or
            from the log of any Hugging Face Trainer.
          </EmptyState>
        ) : table ? (
          <DataTable rows={rows()} />
        ) : (
          <div className="grid gap-3 lg:grid-cols-2 2xl:grid-cols-3">
            {names.map((name) => {
              const values = cols.series[name] ?? [];
              const color = jobColor(job.id);
              return (
                <Chart
                  key={name}
                  title={name}
                  unit={unitOf(name)}
                  x={x}
                  xKind={byTime && timed ? "time" : "step"}
                  sync={`job-${job.id}`}
                  series={
                    weight > 0
                      ? [
                          { label: "raw", color, values, faint: true },
                          { label: "smoothed", color, values: smooth(values, weight) },
                        ]
                      : [{ label: name, color, values }]
                  }
                />
              );
            })}
          </div>
        )}
      </Section>
      <GpuHistoryCharts job={job} attempt={attempt} growing={growing} />
    </>
  );
}

/** The charts' points as a table. */
function DataTable({ rows }: { rows: readonly (readonly (string | number | null)[])[] }) {
  const [head = [], ...body] = rows;
  const shown = body.slice(-500);
  return (
    <div className="panel max-h-[70dvh] overflow-auto" tabIndex={0} role="region" aria-label="Metric values">
      <table className="w-full text-sm tabular">
        <caption className="sr-only">Metric values, the last {shown.length} rows</caption>
        <thead className="sticky top-0 bg-panel text-right text-xs text-muted">
          <tr>
            {head.map((name) => (
              <th key={name} scope="col" className="px-3 py-1.5 font-medium">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={String(row[0])} className="border-t border-line text-right">
              {row.map((value, i) => (
                <td key={i} className="px-3 py-1">
                  {head[i] === "time" && typeof value === "number"
                    ? new Date(value * 1000).toISOString().slice(0, 19)
                    : metric(typeof value === "number" ? value : null)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
