/** Metric points as columns, to draw, smooth, align and export. */
import type { Metrics } from "@/api/types";

export interface Columns {
  steps: number[];
  times: (number | null)[];
  series: Record<string, (number | null)[]>;
}

/** Columns of a run's points; where no step was written, the point's number stands for it. */
export function columns(metrics: Pick<Metrics, "points" | "names">): Columns {
  const steps: number[] = [];
  const times: (number | null)[] = [];
  const series: Record<string, (number | null)[]> = Object.fromEntries(
    metrics.names.map((name) => [name, [] as (number | null)[]]),
  );
  metrics.points.forEach((point, i) => {
    const step = point["step"] ?? i;
    // A run resumed from a checkpoint writes earlier steps again: what came later counts.
    while (steps.length > 0 && (steps.at(-1) ?? 0) > step) {
      steps.pop();
      times.pop();
      for (const values of Object.values(series)) values.pop();
    }
    if (steps.at(-1) === step) {
      for (const name of metrics.names) {
        const values = series[name];
        if (values && point[name] != null) values[values.length - 1] = point[name];
      }
      return;
    }
    steps.push(step);
    times.push(point["time"] ?? null);
    for (const name of metrics.names) series[name]?.push(point[name] ?? null);
  });
  return { steps, times, series };
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

/** Several runs' lines over one common x. */
export function align(lines: readonly { x: readonly number[]; y: readonly (number | null)[] }[]): {
  x: number[];
  ys: (number | null)[][];
} {
  const x = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const ys = lines.map((line) => {
    const y: (number | null)[] = Array.from({ length: x.length }, () => null);
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
