import { useMemo, useState } from "react";
import type { RunCurves } from "@/api/types";
import { Chart } from "@/charts/Chart";
import { Smoothing } from "@/charts/Smoothing";
import { Toggle } from "@/components/Button";
import { EmptyState } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { align, smooth, troubleText, unitOf } from "@/model/runs/curves";
import { jobColor } from "@/model/jobs/job";
import type { AblationRun } from "@/model/runs/compare";

interface Props {
  metric: string;
  runs: readonly AblationRun[];
  curves: readonly (RunCurves | undefined)[];
  /** The job whose line stands out. */
  lit: number | undefined;
}

/** One metric of all runs over one axis; smoothing leaves the raw lines beneath. */
export function CompareCharts({ metric, runs, curves, lit }: Props) {
  const [weight, setWeight] = useState(0);
  const [logScale, setLogScale] = useState(false);
  const [byTime, setByTime] = useState(false);
  const { x, series } = useMemo(() => {
    const lines = runs.flatMap((run, i) => {
      const curve = curves[i]?.curves[metric];
      if (!curve) return [];
      const times = curve.times ?? [];
      const start = times.find((t) => t !== null) ?? 0;
      const axis = byTime ? times.map((t, n) => Math.round((t ?? n) - start)) : curve.steps;
      const trouble = curve.trouble ? troubleText(curve.trouble) : undefined;
      return [{ run, x: axis, y: curve.values, trouble }];
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
          trouble: line.trouble,
        })),
      ],
    };
  }, [runs, curves, metric, weight, byTime]);
  const place = series.findIndex((one) => lit !== undefined && one.label.startsWith(`${lit} `));
  return (
    <Section
      title="Curves"
      actions={
        <>
          <Smoothing weight={weight} onWeight={setWeight} />
          <Toggle on={byTime} onClick={() => setByTime(!byTime)}>
            By time
          </Toggle>
          <Toggle on={logScale} onClick={() => setLogScale(!logScale)}>
            Log scale
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
          lit={place < 0 ? undefined : place}
          series={series}
          height={340}
          logScale={logScale}
        />
      )}
    </Section>
  );
}
