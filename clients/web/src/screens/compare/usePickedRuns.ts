/** Jobs listed in the address with their metrics, as runs of an ablation. */
import { useQueries } from "@tanstack/react-query";
import { api } from "@/api/endpoints";
import type { Metrics } from "@/api/types";
import { lessIsBetter } from "@/model/runs/curves";
import type { AblationRun } from "@/model/runs/compare";

export function usePickedRuns(jobs: string | undefined): {
  runs: AblationRun[] | undefined;
  error: Error | null;
} {
  const ids = (jobs ?? "").split(",").filter(Boolean).map(Number).filter(Number.isInteger).slice(0, 100);
  const asked = useQueries({
    queries: ids.map((id) => ({
      queryKey: ["job", id],
      queryFn: ({ signal }: { signal: AbortSignal }) => api.job(id, signal),
    })),
  });
  const curves = useQueries({
    queries: ids.map((id) => ({
      queryKey: ["metrics", id, null, 1_000],
      queryFn: ({ signal }: { signal: AbortSignal }) => api.metrics(id, undefined, 1_000, signal),
    })),
  });
  if (jobs === undefined) return { runs: undefined, error: null };
  const error = asked.find((q) => q.error)?.error ?? null;
  if (asked.some((q) => !q.data) || curves.some((q) => q.isPending)) return { runs: undefined, error };
  const runs = asked.flatMap((query, i) =>
    query.data ? [{ job: query.data, ...summary(curves[i]?.data) }] : [],
  );
  return { runs, error };
}

/** The last and the best value of each metric: the greatest where its name says so, else the least. */
function summary(metrics: Metrics | undefined): Pick<AblationRun, "last" | "best" | "step"> {
  const last: Record<string, number | null> = {};
  const best: Record<string, number> = {};
  let step: number | null = null;
  for (const point of metrics?.points ?? []) {
    step = point["step"] ?? step;
    for (const name of metrics?.names ?? []) {
      const value = point[name];
      if (value == null) continue;
      last[name] = value;
      const pick = lessIsBetter(name) === false ? Math.max : Math.min;
      best[name] = pick(best[name] ?? value, value);
    }
  }
  return { last, best, step };
}
