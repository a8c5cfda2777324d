import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "@/api/endpoints";
import type { Job } from "@/api/types";
import { useCounts, useMe } from "@/api/queries";
import { Button, Toggle } from "@/components/Button";
import { ChangedPill } from "@/components/ChangedPill";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { useSteady } from "@/components/useSteady";
import { PageHeader } from "@/components/Layout";
import { chosenColumns, parseSort, sortText } from "@/model/table";
import { BulkActions } from "./BulkActions";
import { FilterChips } from "./FilterChips";
import { VIEWS, changed, toFilter } from "./filter";
import { COLUMNS, USUAL } from "./columns";
import { JobsTable } from "./JobsTable";
import { ViewOptions } from "./ViewOptions";

const PAGE = 100;

/** Each job once, where it came first. */
function once(jobs: readonly Job[]): Job[] {
  return [...new Map(jobs.map((job) => [job.id, job])).values()];
}

export function JobsScreen() {
  const search = useSearch({ from: "/jobs" });
  const navigate = useNavigate({ from: "/jobs" });
  const counts = useCounts().data?.counts;
  const me = useMe().data;
  const [picked, setPicked] = useState<ReadonlySet<number>>(new Set());
  const filter = toFilter(search);
  const pages = useInfiniteQuery({
    queryKey: ["jobs", "pages", filter],
    queryFn: ({ pageParam, signal }) =>
      api.jobs({ ...filter, limit: PAGE, ...(pageParam === "" ? {} : { cursor: pageParam }) }, signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    // The table stays, and with it the focus on its heads.
    placeholderData: keepPreviousData,
  });
  const jobs = pages.data?.pages.flatMap((page) => page.jobs) ?? [];
  // Pages in an order that changes meanwhile may overlap.
  const steady = useSteady(once(jobs), true, pages.isPlaceholderData ? "" : JSON.stringify(filter));
  const filtered = Boolean(search.state || search.user || search.label || search.q);
  const go = (change: Parameters<typeof changed>[1]) => void navigate({ search: changed(search, change) });

  return (
    <>
      <PageHeader title="Jobs" />
      <div className="mb-3 flex flex-wrap items-center gap-2">
        <nav aria-label="Views" className="flex flex-wrap gap-1">
          {VIEWS.map((view) => {
            const total =
              counts &&
              (view.states.length === 0
                ? Object.values(counts).reduce((a, b) => a + b, 0)
                : view.states.reduce((sum, s) => sum + (counts[s] ?? 0), 0));
            return (
              <Toggle
                on={(search.state ?? "") === view.state}
                key={view.name}
                onClick={() => go({ state: view.state })}
              >
                {view.name} {total !== undefined && <span className="tabular opacity-80">{total}</span>}
              </Toggle>
            );
          })}
        </nav>
        <FilterChips search={search} me={me?.user} go={go} />
        <ViewOptions search={search} go={go} />
      </div>
      <BulkActions jobs={jobs.filter((job) => picked.has(job.id))} onDone={() => setPicked(new Set())} />
      {pages.isError && jobs.length === 0 ? (
        <ErrorMessage error={pages.error} retry={() => void pages.refetch()} />
      ) : pages.isPending ? (
        <Skeleton rows={10} />
      ) : jobs.length === 0 ? (
        <EmptyState title={filtered ? "No jobs match these filters" : "No jobs yet"}>
          {filtered ? (
            <Button small onClick={() => go({ state: "", user: undefined, label: undefined, q: undefined })}>
              Clear the filters
            </Button>
          ) : (
            <>
              Press <kbd>c</kbd>, or run on the box: <code>berth submit --gpus 1 -- python train.py</code>
            </>
          )}
        </EmptyState>
      ) : (
        <>
          <ChangedPill changes={steady.changes} release={steady.release} />
          <div {...steady.handlers} aria-busy={pages.isPlaceholderData}>
            <JobsTable
              jobs={steady.shown}
              columns={chosenColumns(
                search.cols,
                COLUMNS.map((one) => one.name),
                USUAL,
              )}
              sort={parseSort(search.sort)}
              onSort={(sort) => go({ sort: sort.key === "id" && sort.down ? "" : sortText(sort) })}
              picked={picked}
              onPick={setPicked}
              onLabel={(label) => go({ label })}
            />
          </div>
          {pages.hasNextPage && (
            <div className="mt-3 text-center">
              <Button disabled={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>
                {search.sort ? "Show more jobs" : "Show older jobs"}
              </Button>
            </div>
          )}
        </>
      )}
    </>
  );
}
