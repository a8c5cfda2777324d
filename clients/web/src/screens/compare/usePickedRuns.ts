/** Jobs listed in the address with their metrics, as runs of an ablation. */
import { useQueries } from "@tanstack/react-query";
import { api } from "@/api/endpoints";
import type { RunCurves } from "@/api/types";
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
      queryKey: ["curves", id, null, 5],
      queryFn: ({ signal }: { signal: AbortSignal }) => api.curves(id, { points: 5 }, signal),
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

/** The first, the last and the best value of each metric, and what is wrong with it, as the server knows them. */
function summary(
  found: RunCurves | undefined,
): Pick<AblationRun, "first" | "last" | "best" | "step" | "trouble"> {
  const last: Record<string, number | null> = {};
  const first: Record<string, number> = {};
  const best: Record<string, number> = {};
  const trouble: NonNullable<AblationRun["trouble"]> = {};
  let step: number | null = null;
  for (const [name, curve] of Object.entries(found?.curves ?? {})) {
    last[name] = curve.last ?? null;
    if (curve.first != null) first[name] = curve.first;
    if (curve.best != null) best[name] = curve.best;
    if (curve.trouble) trouble[name] = curve.trouble;
    if (curve.last_step != null) step = Math.max(step ?? -Infinity, curve.last_step);
  }
  return { first, last, best, step, trouble };
}
