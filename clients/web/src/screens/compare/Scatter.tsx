import { useState } from "react";
import { useWidth } from "@/charts/useWidth";
import { Section } from "@/components/Layout";
import { metric as number } from "@/format/units";
import { parameters } from "@/model/runs/compare";
import { lessIsBetter } from "@/model/runs/curves";
import { jobColor } from "@/model/jobs/job";
import type { AblationRun } from "@/model/runs/compare";

const H = 220;
const PAD = { left: 60, right: 16, top: 12, bottom: 28 };

const LETTER = 6.5;
const FEWEST = 4;

/** The text cut to a width, with a sign that something is missing. */
function short(text: string, width: number): string {
  const most = Math.max(FEWEST, Math.floor(width / LETTER));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

/** Scatter plot of a metric over a parameter. */
export function Scatter({ runs, metric }: { runs: readonly AblationRun[]; metric: string }) {
  // Drawn in the pixels that are there: a scaled drawing has letters too small to read on a phone.
  const [holder, W] = useWidth(640);
  const columns = parameters(runs, false).filter((c) => c.name !== "ablation");
  const [chosen, setChosen] = useState("");
  const column = columns.find((c) => c.name === chosen) ?? columns[0];
  if (!column) return null;
  const points = runs.flatMap((run) => {
    const value = (lessIsBetter(metric) ? run.best[metric] : run.last[metric]) ?? run.last[metric];
    return value == null ? [] : [{ run, raw: column.value(run), y: value }];
  });
  if (points.length < 2) return null;
  const numeric = points.every((p) => p.raw !== "" && Number.isFinite(Number(p.raw)));
  const names = [...new Set(points.map((p) => p.raw))].sort((a, b) =>
    numeric ? Number(a) - Number(b) : a.localeCompare(b),
  );
  const ys = points.map((p) => p.y);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const slot = (W - PAD.left - PAD.right) / names.length;
  // Where the letters of neighbours would touch, only some are named.
  const each = Math.max(1, Math.ceil(((FEWEST + 1) * LETTER) / slot));
  const px = (raw: string) => PAD.left + (names.indexOf(raw) + 0.5) * slot;
  const py = (y: number) => H - PAD.bottom - ((y - low) / (high - low || 1)) * (H - PAD.top - PAD.bottom);
  const label = `${metric} by ${column.name}: ${points.map((p) => `${p.raw || "none"} ${number(p.y)}`).join(", ")}`;
  return (
    <Section
      title="Parameter and metric"
      actions={
        <label className="flex items-center gap-1.5 text-xs text-muted">
          Parameter
          <select
            className="field min-h-7 w-auto py-0"
            value={column.name}
            onChange={(event) => setChosen(event.target.value)}
          >
            {columns.map((c) => (
              <option key={c.name}>{c.name}</option>
            ))}
          </select>
        </label>
      }
    >
      <div className="panel max-w-3xl overflow-hidden p-2">
        <div ref={holder} />
        <svg role="img" aria-label={label} width={W} height={H} className="block text-muted">
          {[low, (low + high) / 2, high].map((y, i) => (
            <g key={i}>
              <line x1={PAD.left} x2={W - PAD.right} y1={py(y)} y2={py(y)} stroke="var(--color-line)" />
              <text x={PAD.left - 8} y={py(y) + 4} textAnchor="end" fontSize="11" fill="currentColor">
                {number(y)}
              </text>
            </g>
          ))}
          {names
            .filter((_, i) => i % each === 0)
            .map((name) => (
              <text key={name} x={px(name)} y={H - 8} textAnchor="middle" fontSize="11" fill="currentColor">
                {short(name || "none", slot * each)}
              </text>
            ))}
          {points.map((p) => (
            <circle key={p.run.job.id} cx={px(p.raw)} cy={py(p.y)} r="5" fill={jobColor(p.run.job.id)}>
              <title>{`job ${p.run.job.id}: ${number(p.y)}`}</title>
            </circle>
          ))}
        </svg>
      </div>
    </Section>
  );
}
