/** Views of the jobs list that a browser keeps: a name, and the address's filter, order and columns. */
import { readJobsSearch } from "./filter";
import type { JobsSearch } from "./filter";

export interface View {
  name: string;
  search: JobsSearch;
}

const KEPT = "berth.views";
const MOST = 50;

/** The saved views, by name; what cannot be read is left out. */
export function savedViews(storage: Pick<Storage, "getItem"> = localStorage): View[] {
  try {
    const found = JSON.parse(storage.getItem(KEPT) ?? "[]") as unknown;
    if (!Array.isArray(found)) return [];
    return found.flatMap((one: unknown) => {
      const { name, search } = (one ?? {}) as { name?: unknown; search?: unknown };
      if (typeof name !== "string" || name === "" || typeof search !== "object" || search === null) return [];
      return [{ name, search: readJobsSearch(search as Record<string, unknown>) }];
    });
  } catch {
    return [];
  }
}

/** `views` with one more, in place of another of its name. */
export function withView(views: readonly View[], view: View): View[] {
  return [...views.filter((one) => one.name !== view.name), view]
    .sort((a, b) => a.name.localeCompare(b.name))
    .slice(0, MOST);
}

export function keepViews(views: readonly View[], storage: Pick<Storage, "setItem"> = localStorage): void {
  storage.setItem(KEPT, JSON.stringify(views));
}

/** Whether an address shows this view. */
export function isView(view: View, search: JobsSearch): boolean {
  const text = (of: JobsSearch) =>
    JSON.stringify(
      Object.entries(of)
        .filter(([, v]) => v)
        .sort(),
    );
  return text(view.search) === text(search);
}
