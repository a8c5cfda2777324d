import { useMemo, useState } from "react";
import type { Metrics } from "@/api/types";
import { Chart } from "@/charts/Chart";
import { Smoothing } from "@/charts/Smoothing";
import { Toggle } from "@/components/Button";
import { EmptyState } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { align, columns, smooth, unitOf } from "@/model/runs/curves";
import { jobColor } from "@/model/jobs/job";
import type { AblationRun } from "@/model/runs/compare";

interface Props {
  metric: string;
  runs: readonly AblationRun[];
  curves: readonly (Metrics | undefined)[];
}

/** One metric of all runs over one axis; smoothing leaves the raw lines beneath. */
export function CompareCharts({ metric, runs, curves }: Props) {
  const [weight, setWeight] = useState(0);
  const [logScale, setLogScale] = useState(false);
  const [byTime, setByTime] = useState(false);
  const { x, series } = useMemo(() => {
    const lines = runs.flatMap((run, i) => {
      const found = curves[i];
      if (!found?.names.includes(metric)) return [];
      const cols = columns(found);
      const start = cols.times.find((t) => t !== null) ?? 0;
      const axis = byTime ? cols.times.map((t, n) => Math.round((t ?? n) - start)) : cols.steps;
      const values = cols.series[metric] ?? [];
      const keep = values.map((v, n) => (v === null ? -1 : n)).filter((n) => n >= 0);
      return [{ run, x: keep.map((n) => axis[n] ?? n), y: keep.map((n) => values[n] ?? null) }];
    });
    const raw = align(lines);
    const smoothed = align(lines.map((line) => ({ x: line.x, y: smooth(line.y, weight) })));
    const name = (run: AblationRun) => `${run.job.id} ${run.job.name}`.slice(0, 40);
    return {
      x: raw.x,
      series: [
        ...(weight > 0
          ? lines.map((line, i) => ({
              label: `${line.run.job.id} raw`,
              color: jobColor(line.run.job.id),
              values: raw.ys[i] ?? [],
              faint: true,
            }))
          : []),
        ...lines.map((line, i) => ({
          label: name(line.run),
          color: jobColor(line.run.job.id),
          values: smoothed.ys[i] ?? [],
        })),
      ],
    };
  }, [runs, curves, metric, weight, byTime]);
  return (
    <Section
      title="Curves"
      actions={
        <>
          <Smoothing weight={weight} onWeight={setWeight} />
          <Toggle on={byTime} onClick={() => setByTime(!byTime)}>
            by time
          </Toggle>
          <Toggle on={logScale} onClick={() => setLogScale(!logScale)}>
            log scale
          </Toggle>
        </>
      }
    >
      {series.length === 0 ? (
        <EmptyState title={`No run has reported ${metric} yet`} />
      ) : (
        <Chart
          title={metric}
          unit={unitOf(metric)}
          x={x}
          xKind="step"
          series={series}
          height={340}
          logScale={logScale}
        />
      )}
    </Section>
  );
}
