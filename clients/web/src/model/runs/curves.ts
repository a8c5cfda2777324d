/** Curves of runs: to go on with what is new, to smooth, align, group and export. */
import type { Curve, CurveTrouble, RunCurves } from "@/api/types";

/** Begin and end of what a chart shows: steps, or unix seconds. */
export type Range = readonly [number, number];

/** Curves with what came after them. */
export function extended(before: RunCurves, more: RunCurves): RunCurves {
  const curves = { ...before.curves };
  for (const [name, curve] of Object.entries(more.curves)) {
    const old = curves[name];
    curves[name] = old
      ? {
          ...curve,
          steps: [...old.steps, ...curve.steps],
          times: [...(old.times ?? []), ...(curve.times ?? [])],
          values: [...old.values, ...curve.values],
        }
      : curve;
  }
  return { ...more, curves, whole: true };
}

/** True once so much was added that the curves should be thinned again. */
export function isCrowded(curves: RunCurves, points: number): boolean {
  return Object.values(curves.curves).some((curve) => curve.values.length > 3 * points);
}

/** x of a curve: its steps, or its times where every point has one. */
export function axisOf(curve: Curve, byTime: boolean): readonly number[] {
  const times = curve.times ?? [];
  return byTime && times.length === curve.steps.length && times.every((t) => t !== null)
    ? (times as number[])
    : curve.steps;
}

/** "NaN since step 601", "diverged since step 601": what is wrong with a curve, for a small place. */
export function troubleText(trouble: CurveTrouble): string {
  const what = trouble.kind === "not_finite" ? "NaN or infinite" : "diverged";
  if (trouble.step == null) return what;
  return `${what} since step ${trouble.step.toLocaleString("en-US")}`;
}

/** Range of the values without the most extreme hundredth at either end; undefined for few. */
export function withoutOutliers(values: readonly (number | null | undefined)[]): Range | undefined {
  const sorted = values.filter((v): v is number => v != null).sort((a, b) => a - b);
  if (sorted.length < 20) return undefined;
  const cut = Math.max(1, Math.floor(sorted.length / 100));
  const [low, high] = [sorted[cut] ?? 0, sorted[sorted.length - 1 - cut] ?? 0];
  const margin = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - margin, high + margin];
}

/** Metrics by the part of their name before the first slash; those without one first. */
export function groupsOf(names: readonly string[]): { name: string; metrics: string[] }[] {
  const groups = new Map<string, string[]>();
  for (const name of names) {
    const at = name.indexOf("/");
    const group = at > 0 ? name.slice(0, at) : "";
    groups.set(group, [...(groups.get(group) ?? []), name]);
  }
  return [...groups]
    .map(([name, metrics]) => ({ name, metrics }))
    .sort((a, b) => Number(a.name !== "") - Number(b.name !== ""));
}

/** Rows of a table over all steps: step, time, then the metrics in the order of `names`. */
export function tableOf(curves: RunCurves["curves"], names: readonly string[]): (number | null)[][] {
  const rows = new Map<number, (number | null)[]>();
  names.forEach((name, column) => {
    const curve = curves[name];
    curve?.steps.forEach((step, i) => {
      let row = rows.get(step);
      if (!row) {
        row = [step, null, ...names.map(() => null)];
        rows.set(step, row);
      }
      row[1] = curve.times?.[i] ?? row[1] ?? null;
      row[column + 2] = curve.values[i] ?? null;
    });
  });
  return [...rows.values()].sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
}

/** Exponential smoothing with the start's bias taken out; nulls stay. `weight` 0 leaves all as is. */
export function smooth(values: readonly (number | null)[], weight: number): (number | null)[] {
  let sum = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null || weight <= 0) return value;
    sum = sum * weight + value * (1 - weight);
    mass = mass * weight + (1 - weight);
    return sum / mass;
  });
}

/** Several runs' lines over one common x; undefined where a line has no point, null is a gap. */
export function align(lines: readonly { x: readonly number[]; y: readonly (number | null)[] }[]): {
  x: number[];
  ys: (number | null | undefined)[][];
} {
  const x = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const ys = lines.map((line) => {
    const y: (number | null | undefined)[] = Array.from({ length: x.length });
    line.x.forEach((value, i) => {
      const at = place.get(value);
      if (at !== undefined) y[at] = line.y[i] ?? null;
    });
    return y;
  });
  return { x, ys };
}

/** True when the metric's name says that lower is better; undefined when it says neither. */
export function lessIsBetter(name: string): boolean | undefined {
  if (/loss|perplexity|ppl|error|wer|cer|latency|seconds|runtime|memory/i.test(name)) return true;
  if (/acc|f1|bleu|rouge|distinct|reward|per_s|throughput|score|precision|recall|auc|mfu/i.test(name))
    return false;
  return undefined;
}

/** Names that are worth a chart first: losses, then rates, then the rest by name. */
export function byWeight(names: readonly string[]): string[] {
  const weight = (name: string) => ["loss", "eval_loss", "learning_rate", "grad_norm"].indexOf(name);
  const rank = (name: string) => (weight(name) === -1 ? (name.includes("loss") ? 3.5 : 9) : weight(name));
  return names.filter((name) => name !== "epoch").sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

/** Unit of a metric, where its name gives one. */
export function unitOf(name: string): string {
  const rate = /^(?:\w+[/_])?(\w+)_per_second$/.exec(name)?.[1];
  if (rate !== undefined) return `${rate}/s`;
  if (/_(seconds|s)$|runtime$/.test(name)) return "s";
  if (name.endsWith("_bytes")) return "bytes";
  if (/percent/.test(name)) return "%";
  return "";
}

/** Rows as comma-separated text; a cell with a comma, quote or line end is quoted. */
export function toCsv(rows: readonly (readonly (string | number | null | undefined)[])[]): string {
  const cell = (value: string | number | null | undefined) => {
    const text = value == null ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Rows as a Markdown table, the first being its head. */
export function toMarkdown(rows: readonly (readonly (string | number | null | undefined)[])[]): string {
  const line = (row: readonly (string | number | null | undefined)[]) =>
    `| ${row
      .map((value) =>
        String(value ?? "")
          .replaceAll("|", String.raw`\|`)
          .replaceAll("\n", " "),
      )
      .join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [line(head), `|${head.map(() => " --- |").join("")}`, ...body.map(line)].join("\n") + "\n";
}
