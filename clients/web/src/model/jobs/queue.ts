/** The queue in the scheduler's order. */
import type { Job } from "@/api/types";

/** Jobs with a position first, by position; then those without one, oldest first. */
export function byPosition(jobs: readonly Job[]): Job[] {
  return [...jobs].sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity) || a.id - b.id);
}
