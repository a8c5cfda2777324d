import { useEffect, useEffectEvent, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { absolute } from "@/format/duration";
import { metric } from "@/format/units";
import { onThemeChange } from "@/shell/theme";
import { resolveColor } from "./color";

export interface Series {
  label: string;
  /** Any CSS colour, variables included. */
  color: string;
  values: readonly (number | null)[];
  /** Drawn faintly: the raw values beneath a smoothed line. */
  faint?: boolean;
}

interface Props {
  title: string;
  /** Unit of the values, shown beside the title. */
  unit?: string;
  x: readonly number[];
  /** "time": x is unix seconds. */
  xKind: "step" | "time";
  series: readonly Series[];
  /** Charts with the same key share their cursor. */
  sync?: string;
  height?: number;
  logScale?: boolean;
  range?: readonly [number, number];
}

/** Lines over steps or time. Drag to zoom, double-click to see all. */
export function Chart({ title, unit, x, xKind, series, sync, height = 220, logScale = false, range }: Props) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const [theme, setTheme] = useState(0);
  const shape = JSON.stringify([
    xKind,
    series.map((s) => [s.label, s.color, s.faint]),
    sync,
    height,
    logScale,
    range,
    theme,
  ]);
  const data = useMemo(
    () => [x, ...series.map((s) => s.values)] as unknown as uPlot.AlignedData,
    [x, series],
  );
  const draw = useEffectEvent(
    (element: HTMLElement) =>
      new uPlot(options(element, { xKind, series, sync, height, logScale, range }), data, element),
  );
  const resize = useEffectEvent((element: HTMLElement) =>
    plot.current?.setSize({ width: element.clientWidth, height }),
  );

  useEffect(() => onThemeChange(() => setTheme((n) => n + 1)), []);
  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    plot.current = draw(element);
    const watch = new ResizeObserver(() => resize(element));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.current?.destroy();
    };
  }, [shape]);
  useEffect(() => {
    plot.current?.setData(data);
  }, [data]);

  const last = series
    .filter((s) => !s.faint)
    .map((s) => `${s.label} ${metric(s.values.findLast((v) => v !== null))}`);
  return (
    <figure aria-label={title} className="panel min-w-0 px-3 pt-2 pb-1">
      <figcaption className="mb-1 flex items-baseline gap-2 text-sm">
        <span className="font-medium">{title}</span>
        {unit && <span className="text-xs text-muted">{unit}</span>}
        {series.length === 1 && (
          <span className="ml-auto tabular">{metric(series[0]?.values.findLast((v) => v !== null))}</span>
        )}
      </figcaption>
      <div
        ref={holder}
        role="img"
        aria-label={`${title}${unit ? ` in ${unit}` : ""}, last values: ${last.join(", ")}`}
      />
    </figure>
  );
}

interface Drawn {
  xKind: "step" | "time";
  series: readonly Series[];
  sync: string | undefined;
  height: number;
  logScale: boolean;
  range: readonly [number, number] | undefined;
}

function options(
  element: HTMLElement,
  { xKind, series, sync, height, logScale, range }: Drawn,
): uPlot.Options {
  const ink = resolveColor(element, "var(--color-muted)");
  const line = resolveColor(element, "var(--color-line)");
  const axis = {
    stroke: ink,
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1 },
    font: "11px Inter Variable",
  };
  return {
    width: Math.max(120, element.clientWidth),
    height,
    padding: [8, 16, 0, 0],
    legend: { show: series.length > 1, live: true },
    cursor: { drag: { x: true, y: false }, points: { size: 6 }, ...(sync ? { sync: { key: sync } } : {}) },
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
          spanGaps: true,
          points: { show: s.values.length < 60 && !s.faint, size: 4 },
          // Without a cursor the legend shows the last value of each line.
          value: (_u: uPlot, v: number | null, _i: number, place: number | null) =>
            metric(place === null ? s.values.findLast((known) => known !== null) : v),
        };
      }),
    ],
  };
}
