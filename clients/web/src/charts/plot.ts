/** uPlot set up for curves of runs: hover, zoom, gaps and marks of values that are no number. */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { absolute } from "@/format/duration";
import { metric } from "@/format/units";
import type { Range } from "@/model/runs/curves";
import { resolveColor } from "./color";

export interface Series {
  label: string;
  /** Any CSS colour, variables included. */
  color: string;
  /** Null where the value was NaN or infinite, undefined where there was none. */
  values: readonly (number | null | undefined)[];
  /** Drawn faintly: the raw values beneath a smoothed line. */
  faint?: boolean;
  /** What is wrong with it, in a few words; shown in place of its last value. */
  trouble?: string | undefined;
}

export interface Plotted {
  xKind: "step" | "time";
  series: readonly Series[];
  sync: string | undefined;
  height: number;
  logScale: boolean;
  range: Range | undefined;
  /** Called with the chosen part of x, or with nothing to see all; without it the plot zooms itself. */
  onZoom: ((zoom: Range | undefined) => void) | undefined;
  /** Called with the values under the pointer, or null when it has left. */
  onPoint: (text: string | null) => void;
}

const FEW_POINTS = 60;
const MARK = 7;

export function plotOf(element: HTMLElement, data: uPlot.AlignedData, drawn: Plotted): uPlot {
  const plot = new uPlot(options(element, drawn), data, element);
  const { onZoom } = drawn;
  if (onZoom) plot.over.addEventListener("dblclick", () => onZoom(undefined));
  return plot;
}

function options(element: HTMLElement, drawn: Plotted): uPlot.Options {
  const { xKind, series, sync, height, logScale, range, onZoom, onPoint } = drawn;
  const ink = resolveColor(element, "var(--color-muted)");
  const line = resolveColor(element, "var(--color-line)");
  const bad = resolveColor(element, "var(--color-bad)");
  const axis = {
    stroke: ink,
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1 },
    font: "11px Inter Variable",
  };
  const alone = series.filter((s) => !s.faint).length === 1;
  return {
    width: Math.max(120, element.clientWidth),
    height,
    padding: [8, 16, 0, 0],
    legend: { show: !alone, live: true },
    focus: { alpha: 0.25 },
    cursor: {
      drag: { x: true, y: false, setScale: onZoom === undefined },
      points: { size: 6 },
      ...(sync ? { sync: { key: sync } } : {}),
      ...(alone ? {} : { focus: { prox: 24 } }),
    },
    scales: {
      x: { time: xKind === "time" },
      y: {
        ...(logScale ? { distr: 3 as const } : {}),
        ...(range ? { range: [range[0], range[1]] as [number, number] } : {}),
      },
    },
    axes: [
      {
        ...axis,
        size: 28,
        ...(xKind === "step"
          ? { values: (_u: uPlot, splits: number[]) => splits.map((v) => metric(v)) }
          : {}),
      },
      {
        ...axis,
        size: (_u: uPlot, labels: string[] | null) =>
          16 + 7 * Math.max(4, ...(labels ?? []).map((l) => l.length)),
        values: (_u: uPlot, splits: number[]) => splits.map((v) => metric(v)),
      },
    ],
    hooks: {
      setCursor: [(u) => onPoint(alone ? pointOf(u, xKind) : null)],
      setSelect: [
        (u) => {
          if (!onZoom || u.select.width < 4) return;
          const [from, to] = [u.select.left, u.select.left + u.select.width].map((px) => u.posToVal(px, "x"));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          if (from !== undefined && to !== undefined) onZoom([from, to]);
        },
      ],
      draw: [(u) => markGaps(u, bad)],
    },
    series: [
      {
        label: xKind === "step" ? "step" : "time",
        value: (_u: uPlot, v: number | null) =>
          v === null ? "last values" : xKind === "step" ? metric(v) : absolute(v * 1000),
      },
      ...series.map((s) => {
        const color = resolveColor(element, s.color);
        return {
          label: s.label,
          stroke: color,
          width: s.faint ? 1 : 1.5,
          alpha: s.faint ? 0.3 : 1,
          // A gap is a value that was no number, and no line leads over it.
          spanGaps: false,
          points: { show: s.values.filter((v) => v != null).length < FEW_POINTS && !s.faint, size: 4 },
          // Without a cursor the legend shows the last value of each line.
          value: (_u: uPlot, v: number | null | undefined, _i: number, place: number | null) =>
            place === null
              ? (s.trouble ?? metric(s.values.findLast((one) => one !== undefined)))
              : v === null
                ? "NaN or infinite"
                : metric(v),
        };
      }),
    ],
  };
}

/** "step 700 · 0.123": the newest line's value under the pointer. */
function pointOf(u: uPlot, xKind: "step" | "time"): string | null {
  const place = u.cursor.idx;
  const x = place == null ? undefined : u.data[0][place];
  if (place == null || x === undefined) return null;
  const value = u.data[u.data.length - 1]?.[place];
  const at = xKind === "step" ? `step ${metric(x)}` : absolute(x * 1000);
  return `${at} · ${value === null ? "NaN or infinite" : metric(value)}`;
}

/** A red mark on the x axis for each point with a value that was no number. */
function markGaps(u: uPlot, color: string): void {
  const { left, top, width, height } = u.bbox;
  u.ctx.save();
  u.ctx.fillStyle = color;
  for (let i = 1; i < u.data.length; i += 1) {
    u.data[i]?.forEach((value, place) => {
      if (value !== null) return;
      const x = u.valToPos(u.data[0][place] ?? 0, "x", true);
      if (x >= left && x <= left + width) u.ctx.fillRect(x - 1.5, top + height - MARK, 3, MARK);
    });
  }
  u.ctx.restore();
}
