import { useState } from "react";
import type { Job, RunCurves } from "@/api/types";
import { Chart } from "@/charts/Chart";
import { WhenSeen } from "@/charts/WhenSeen";
import { Dialog } from "@/components/Dialog";
import { plural } from "@/format/units";
import { jobColor } from "@/model/jobs/job";
import { axisOf, groupsOf, smooth, troubleText, unitOf, withoutOutliers } from "@/model/runs/curves";
import type { Range } from "@/model/runs/curves";

interface Props {
  job: Job;
  curves: RunCurves["curves"];
  names: readonly string[];
  weight: number;
  byTime: boolean;
  logScale: boolean;
  clipped: boolean;
  zoom: Range | undefined;
  onZoom: (zoom: Range | undefined) => void;
}

const HEIGHT = 220;
/** Figure with its head and its border. */
const WHOLE = HEIGHT + 42;

/** A chart for each metric, by groups; one at a time can be enlarged. */
export function MetricCharts(props: Props) {
  const [large, setLarge] = useState<string>();
  const groups = groupsOf(props.names);
  const grid = (names: readonly string[]) => (
    <div className="grid gap-3 lg:grid-cols-2 2xl:grid-cols-3">
      {names.map((name) => (
        <WhenSeen key={name} height={WHOLE}>
          <One {...props} name={name} height={HEIGHT} onEnlarge={() => setLarge(name)} />
        </WhenSeen>
      ))}
    </div>
  );
  return (
    <>
      {groups.length === 1
        ? grid(props.names)
        : groups.map((group) => (
            <details key={group.name} open className="mb-3">
              <summary className="mb-2 min-h-6 text-sm font-medium">
                {group.name || "no group"}{" "}
                <span className="text-xs font-normal text-muted">
                  {plural(group.metrics.length, "metric")}
                </span>
              </summary>
              {grid(group.metrics)}
            </details>
          ))}
      {large !== undefined && (
        <Dialog title={large} size="full" onClose={() => setLarge(undefined)}>
          <One {...props} name={large} height={Math.max(240, Math.round(innerHeight * 0.65))} />
        </Dialog>
      )}
    </>
  );
}

function One({
  job,
  curves,
  name,
  weight,
  byTime,
  logScale,
  clipped,
  zoom,
  onZoom,
  height,
  onEnlarge,
}: Omit<Props, "names"> & { name: string; height: number; onEnlarge?: () => void }) {
  const curve = curves[name];
  if (!curve) return null;
  const { values } = curve;
  const color = jobColor(job.id);
  return (
    <Chart
      title={name}
      unit={unitOf(name)}
      x={axisOf(curve, byTime)}
      xKind={byTime ? "time" : "step"}
      height={height}
      sync={`job-${job.id}`}
      logScale={logScale && values.every((v) => v == null || v > 0)}
      range={clipped && !logScale ? withoutOutliers(values) : undefined}
      zoom={zoom}
      onZoom={onZoom}
      last={curve.last}
      trouble={curve.trouble ? troubleText(curve.trouble) : undefined}
      {...(onEnlarge ? { onEnlarge } : {})}
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
}
