import { Maximize2 } from "lucide-react";
import { useEffect, useEffectEvent, useMemo, useRef, useState } from "react";
import type uPlot from "uplot";
import { Button } from "@/components/Button";
import { metric } from "@/format/units";
import type { Range } from "@/model/runs/curves";
import { onThemeChange } from "@/shell/theme";
import { plotOf } from "./plot";
import type { Series } from "./plot";

export type { Series } from "./plot";

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
  range?: Range | undefined;
  /** The part of x that is shown; all of it without. */
  zoom?: Range | undefined;
  /** The reader chose a part of x, or all of it again. Without this the chart zooms by itself. */
  onZoom?: (zoom: Range | undefined) => void;
  /** What is wrong with the curve, in a few words; shown in red in the place of the last value. */
  trouble?: string | undefined;
  /** The run's last value, which thinning may have left out. */
  last?: number | null | undefined;
  onEnlarge?: () => void;
  /** The series that stands out, by its place; the others are faint. */
  lit?: number | undefined;
}

/** Lines over steps or time, the values under the pointer in the head. Drag to zoom, double-click to see all. */
export function Chart(props: Props) {
  const { title, unit, x, xKind, series, sync, height = 220, logScale = false, range, zoom, lit } = props;
  const holder = useRef<HTMLDivElement>(null);
  const told = useRef<HTMLSpanElement>(null);
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
    props.onZoom !== undefined,
  ]);
  const data = useMemo(
    () => [x, ...series.map((s) => s.values)] as unknown as uPlot.AlignedData,
    [x, series],
  );
  const value = series.length === 1 ? (props.last ?? lastOf(series[0]?.values ?? [])) : null;
  const rest = props.trouble ?? (series.length === 1 || props.last !== undefined ? metric(value) : "");
  const tell = useEffectEvent((text: string | null) => {
    if (told.current) told.current.textContent = text ?? rest;
  });
  const choose = useEffectEvent((chosen: Range | undefined) => props.onZoom?.(chosen));
  const draw = useEffectEvent((element: HTMLElement) =>
    plotOf(element, data, {
      xKind,
      series,
      sync,
      height,
      logScale,
      range,
      onZoom: props.onZoom ? choose : undefined,
      onPoint: tell,
    }),
  );
  const resize = useEffectEvent((element: HTMLElement) =>
    plot.current?.setSize({ width: element.clientWidth, height }),
  );
  const [from, to] = zoom ?? [];

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
    const drawn = plot.current;
    if (!drawn) return;
    drawn.setData(data, from === undefined);
    if (from !== undefined && to !== undefined) drawn.setScale("x", { min: from, max: to });
  }, [data, from, to, shape]);
  useEffect(() => {
    plot.current?.setSeries(lit === undefined ? null : lit + 1, { focus: lit !== undefined });
  }, [lit, shape]);

  const last = series
    .filter((s) => !s.faint)
    .map((s) => `${s.label} ${s.trouble ?? metric(lastOf(s.values))}`);
  return (
    <figure aria-label={title} className="panel min-w-0 px-3 pt-2 pb-1">
      <figcaption className="mb-1 flex items-baseline gap-2 text-sm">
        <span className="min-w-0 truncate font-medium" title={title}>
          {title}
        </span>
        {unit && <span className="text-xs whitespace-nowrap text-muted">{unit}</span>}
        <span
          ref={told}
          data-value
          className={`ml-auto whitespace-nowrap tabular ${props.trouble ? "font-medium text-bad" : ""}`}
        >
          {rest}
        </span>
        {props.onEnlarge && (
          <Button
            kind="quiet"
            small
            className="-my-1 self-center"
            aria-label={`Enlarge ${title}`}
            onClick={props.onEnlarge}
          >
            <Maximize2 aria-hidden className="size-3.5" />
          </Button>
        )}
      </figcaption>
      <div
        ref={holder}
        role="img"
        aria-label={`${title}${unit ? ` in ${unit}` : ""}, last values: ${props.trouble ?? last.join(", ")}`}
      />
    </figure>
  );
}

function lastOf(values: readonly (number | null | undefined)[]): number | null | undefined {
  return values.findLast((v) => v !== undefined);
}
