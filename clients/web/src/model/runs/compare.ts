/** Comparison of runs: differing parameters, best values, spread over seeds. */
import type { Ablation, Job } from "@/api/types";
import { fixed, metric } from "@/format/units";
import { OUTCOME_WORDS } from "@/model/jobs/job";

export type AblationRun = Ablation["runs"][number];

export interface Column {
  name: string;
  value: (run: AblationRun) => string;
}

/** Labels and settings in which the runs differ, plus name; what is the same for all is left out. */
export function parameters(runs: readonly AblationRun[], all: boolean): Column[] {
  const label = (name: string): Column => ({ name, value: (run) => run.job.labels?.[name] ?? "" });
  const env = (name: string): Column => ({ name: `$${name}`, value: (run) => run.job.env?.[name] ?? "" });
  const names = (of: (job: Job) => Record<string, string> | undefined) =>
    [...new Set(runs.flatMap((run) => Object.keys(of(run.job) ?? {})))].sort();
  const columns: Column[] = [
    ...names((job) => job.labels).map(label),
    ...names((job) => job.env).map(env),
    { name: "GPUs", value: (run) => String(run.job.gpus) },
    { name: "user", value: (run) => run.job.user },
  ];
  const differs = (column: Column) => new Set(runs.map(column.value)).size > 1;
  return all ? columns : columns.filter(differs);
}

/** The best value, which several runs may share; undefined when there is nothing to be better than. */
export function bestOf(values: readonly (number | null | undefined)[], less: boolean): number | undefined {
  const there = values.filter((v) => v != null && Number.isFinite(v)) as number[];
  const [low, high] = [Math.min(...there), Math.max(...there)];
  return there.length > 1 && low !== high ? (less ? low : high) : undefined;
}

export interface Group {
  /** The parameters without the seed, as one text. */
  key: string;
  runs: AblationRun[];
}

/** Runs that differ only in their seed. */
export function bySeed(runs: readonly AblationRun[]): Group[] {
  const groups = new Map<string, AblationRun[]>();
  for (const run of runs) {
    const key = Object.entries(run.job.labels ?? {})
      .filter(([name]) => !/^(seed|ablation)$/i.test(name))
      .map(([name, value]) => `${name}=${value}`)
      .sort()
      .join(", ");
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups].map(([key, members]) => ({ key, runs: members }));
}

/** "2.252 ± 0.017": a mean no finer than its deviation, which has two digits. */
export function meanAndDeviation(mean: number, deviation: number | undefined): string {
  if (deviation === undefined || deviation === 0) return metric(mean);
  const decimals = 1 - Math.floor(Math.log10(deviation));
  if (decimals < 0 || decimals > 6) return `${metric(mean)} ± ${metric(deviation)}`;
  return `${fixed(mean, decimals)} ± ${fixed(deviation, decimals)}`;
}

/** Mean and sample standard deviation of what is there. */
export function spread(
  values: readonly (number | null | undefined)[],
): { mean: number; deviation: number | undefined; n: number } | undefined {
  const there = values.filter((v) => v != null);
  if (there.length === 0) return undefined;
  const mean = there.reduce((a, b) => a + b, 0) / there.length;
  const deviation =
    there.length > 1
      ? Math.sqrt(there.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (there.length - 1))
      : undefined;
  return { mean, deviation, n: there.length };
}

/** Reason for an empty cell, in words. */
export function missing(run: AblationRun): string {
  const { state, outcome } = run.job;
  if (state === "running" || state === "starting" || state === "stopping") return "not yet";
  if (state === "succeeded") return "not reported";
  return outcome && outcome !== "exit" ? OUTCOME_WORDS[outcome] : state;
}
