/** Receipt of a run: what it used of the GPUs, and what came of it. */
import type { GpuUsage, RunCurves } from "@/api/types";
import { bytes, percent } from "@/format/units";

export interface ReceiptLine {
  name: string;
  value: string;
  /** Meaning of the number, for a title. */
  about: string;
}

/** Three significant digits, grouped by thousands: "1,234", "12.4", "0.0031". */
export function short(value: number): string {
  return value >= 1000
    ? Math.round(value).toLocaleString("en-US")
    : value.toLocaleString("en-US", { maximumSignificantDigits: 3 });
}

/** "12.3 M" tokens: large counts by their power of a thousand. */
export function large(value: number): string {
  const units = ["", " k", " M", " G", " T"];
  let size = value;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${short(size)}${units[unit]}`;
}

/** The lines of the receipt; what was not measured or has no price is left out. */
export function receiptLines(usage: GpuUsage, tokens: number | undefined): ReceiptLine[] {
  const lines: ReceiptLine[] = [
    {
      name: "GPU-hours",
      value: short(usage.gpu_hours),
      about: "GPUs held, times the hours; a share of a GPU counts as its part",
    },
  ];
  const add = (name: string, value: string, about: string) => lines.push({ name, value, about });
  const seen = usage.seen_fraction ?? 0;
  const part = seen < 0.95 ? `, of the ${percent(seen * 100)} of the time that was sampled` : "";
  if (usage.utilization_percent != null)
    add("busy", percent(usage.utilization_percent), `Mean utilisation of its GPUs${part}`);
  if (usage.idle_percent != null)
    add("idle", percent(usage.idle_percent), `GPU time below 5 % utilisation${part}`);
  if (usage.peak_memory_bytes != null)
    add("peak memory", bytes(usage.peak_memory_bytes), "Most memory that it held on any one GPU");
  if (usage.energy_kwh != null)
    add("energy", `${short(usage.energy_kwh)} kWh`, "Energy of the GPUs alone, from their power");
  if (usage.cost != null)
    add(
      "cost",
      `${usage.cost.toFixed(2)} ${usage.currency ?? ""}`.trim(),
      "By the settings price_per_gpu_hour and price_per_kwh",
    );
  if (usage.co2_g != null)
    add(
      "CO₂",
      usage.co2_g >= 1000 ? `${short(usage.co2_g / 1000)} kg` : `${short(usage.co2_g)} g`,
      "By the setting co2_per_kwh",
    );
  if (tokens !== undefined && usage.energy_kwh != null && usage.energy_kwh > 0)
    add("tokens per kWh", `about ${large(tokens / usage.energy_kwh)}`, "Trained tokens, from its metrics");
  return lines;
}

const COUNTED = ["num_input_tokens_seen", "tokens_seen", "total_tokens", "tokens"];
const RATES = ["tokens_per_s", "tokens_per_second", "train/tokens_per_second"];
/** Metrics that say how many tokens were trained: a count, or else a rate. */
export const TOKEN_METRICS: readonly string[] = [...COUNTED, ...RATES];

/** Tokens that the run trained, as its metrics tell; undefined where none does. */
export function tokensOf(curves: RunCurves["curves"]): number | undefined {
  for (const name of COUNTED) {
    const last = curves[name]?.last;
    if (last != null && last > 0) return last;
  }
  for (const name of RATES) {
    const curve = curves[name];
    const times = curve?.times ?? [];
    if (!curve || times.length < 2) continue;
    let sum = 0;
    for (let i = 1; i < times.length; i += 1) {
      const [from, to, rate] = [times[i - 1], times[i], curve.values[i]];
      if (from != null && to != null && rate != null && to > from) sum += rate * (to - from);
    }
    if (sum > 0) return sum;
  }
  return undefined;
}

/** How much a loss fell from its first to its best value for each GPU-hour; undefined without both. */
export function lossPerGpuHour(
  first: number | undefined,
  best: number | undefined,
  usage: GpuUsage | null | undefined,
): number | undefined {
  if (first === undefined || best === undefined || !usage || usage.gpu_hours <= 0) return undefined;
  return (first - best) / usage.gpu_hours;
}
