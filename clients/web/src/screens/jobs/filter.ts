/** The jobs list's filter as it stands in the address. */
import type { JobFilter } from "@/api/endpoints";
import { ACTIVE, FINAL, PENDING } from "@/api/queries";
import type { JobState } from "@/api/types";
import { parseSort } from "@/model/table";
import { COLUMNS } from "./columns";

export interface JobsSearch {
  /** A view's name or states, comma separated. */
  state?: string;
  user?: string;
  /** "key=value", several with commas. */
  label?: string;
  q?: string;
  /** Column by which they are sorted, with a minus for the greatest first. */
  sort?: string;
  /** Names of the columns, comma separated; absent: the usual ones. */
  cols?: string;
}

export const VIEWS: readonly { name: string; state: string; states: readonly JobState[] }[] = [
  { name: "All", state: "", states: [] },
  { name: "Active", state: "active", states: ACTIVE },
  { name: "Pending", state: "pending", states: PENDING },
  { name: "Succeeded", state: "succeeded", states: ["succeeded"] },
  { name: "Failed", state: "failed", states: ["failed"] },
  { name: "Cancelled", state: "cancelled", states: ["cancelled"] },
];
const NAMED: Record<string, readonly JobState[]> = { active: ACTIVE, pending: PENDING, ended: FINAL };
const STATES: ReadonlySet<string> = new Set([...ACTIVE, ...PENDING, ...FINAL]);

/** Keep what makes sense of an address's parameters, drop the rest. */
export function readJobsSearch(search: Record<string, unknown>): JobsSearch {
  const found: JobsSearch = {};
  const state = String(search["state"] ?? "");
  if (state.split(",").every((s) => STATES.has(s) || s in NAMED)) found.state = state;
  for (const name of ["user", "label", "q", "sort", "cols"] as const) {
    const value = search[name];
    if ((typeof value === "string" || typeof value === "number") && value !== "") found[name] = String(value);
  }
  return found;
}

/** Query parameters for the server. */
export function toFilter(search: JobsSearch): JobFilter {
  const filter: JobFilter = {};
  if (search.state) filter.state = search.state.split(",").flatMap<string>((s) => [...(NAMED[s] ?? [s])]);
  if (search.user) filter.user = search.user;
  if (search.label) filter.label = search.label.split(",");
  if (search.q) filter.q = search.q;
  const sort = parseSort(search.sort);
  const column = COLUMNS.find((one) => one.sort !== undefined && one.sort === sort?.key);
  if (sort && column) {
    filter.sort = sort.key;
    filter.order = sort.down ? "desc" : "asc";
  }
  return filter;
}

/** `search` with the members of `change`; an empty or undefined one is taken out. */
export function changed(
  search: JobsSearch,
  change: { [K in keyof JobsSearch]: JobsSearch[K] | undefined },
): JobsSearch {
  const next = { ...search, ...change };
  return Object.fromEntries(
    Object.entries(next).filter(([, v]) => v !== undefined && v !== ""),
  ) as JobsSearch;
}
