/** Query keys that a batch of events invalidates. */
import type { BerthEvent } from "@/api/types";

/** Query keys, each a prefix; without repetition. `boxIsPushed`: the map comes by itself. */
export function keysTouchedBy(events: readonly BerthEvent[], boxIsPushed: boolean): (string | number)[][] {
  const keys = new Map<string, (string | number)[]>();
  const touch = (...key: (string | number)[]) => keys.set(key.join("/"), key);
  for (const event of events) {
    touch("events");
    if (event.kind.startsWith("job.") || event.job_id != null) {
      touch("jobs");
      touch("counts");
      touch("explain");
      touch("plan");
      touch("users");
      touch("ablations");
      touch("ablation");
      if (event.job_id != null) touch("job", event.job_id);
    }
    if (/^(gpu|reservation)\./.test(event.kind)) {
      // What a drain or a reservation keeps from starting says so at once.
      touch("explain");
      touch("jobs");
      touch("plan");
    }
    if (!boxIsPushed && /^(gpu|job|reservation|worker)\./.test(event.kind)) touch("box");
    if (event.kind.startsWith("token.")) touch("tokens");
  }
  return [...keys.values()];
}

const PACES_MS: Record<string, number> = { jobs: 2_000, plan: 10_000, users: 10_000, ablations: 5_000 };

/** Least time between two refetches of a key: the longer, the more its answer weighs. */
export function paceOf(key: readonly (string | number)[]): number {
  return PACES_MS[String(key[0])] ?? 400;
}
