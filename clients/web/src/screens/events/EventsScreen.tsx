import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useEvents } from "@/api/queries";
import { Button, Toggle } from "@/components/Button";
import { download } from "@/components/download";
import { EventList } from "@/components/EventList";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { PageHeader } from "@/components/Layout";
import { toCsv } from "@/model/runs/curves";

const KINDS = [
  ["", "All"],
  ["job.", "Jobs"],
  ["gpu.", "GPUs"],
  ["worker.", "Worker"],
  ["server.", "Server"],
  ["token.", "Tokens"],
  ["session.", "Sign-ins"],
] as const;

/** Events, newest first: time, actor, job and message. */
export function EventsScreen() {
  const search = useSearch({ from: "/events" });
  const navigate = useNavigate({ from: "/events" });
  const [limit, setLimit] = useState(200);
  const events = useEvents({ limit, ...(search.job === undefined ? {} : { job: search.job }) });
  const all = events.data?.events ?? [];
  const shown = [...all]
    .reverse()
    .filter(
      (e) => e.kind.startsWith(search.kind ?? "") && (search.user === undefined || e.actor === search.user),
    );
  const actors = [...new Set(all.map((e) => e.actor))].sort();
  return (
    <>
      <PageHeader title="Events" note={search.job !== undefined && `of job ${search.job}`}>
        <Button
          small
          disabled={shown.length === 0}
          onClick={() =>
            download(
              "berth-events.csv",
              toCsv([
                ["id", "time", "kind", "actor", "job", "attempt", "gpu", "message"],
                ...shown.map((e) => [
                  e.id,
                  e.time,
                  e.kind,
                  e.actor,
                  e.job_id,
                  e.attempt,
                  e.gpu_uuid,
                  e.message,
                ]),
              ]),
              "text/csv",
            )
          }
        >
          CSV
        </Button>
      </PageHeader>
      <div className="mb-3 flex flex-wrap items-center gap-2">
        <div role="group" aria-label="Kind" className="flex flex-wrap gap-1">
          {KINDS.map(([kind, name]) => (
            <Toggle
              on={(search.kind ?? "") === kind}
              key={name}
              onClick={() =>
                void navigate({ search: (old) => ({ ...old, kind: kind || undefined }) as typeof old })
              }
            >
              {name}
            </Toggle>
          ))}
        </div>
        <label className="flex items-center gap-1.5 text-xs text-muted">
          By
          <select
            className="field min-h-7 w-auto py-0"
            value={search.user ?? ""}
            onChange={(event) =>
              void navigate({
                search: (old) => ({ ...old, user: event.target.value || undefined }) as typeof old,
              })
            }
          >
            <option value="">anyone</option>
            {actors.map((actor) => (
              <option key={actor}>{actor}</option>
            ))}
          </select>
        </label>
        {search.job !== undefined && (
          <Button small onClick={() => void navigate({ search: {} })}>
            All jobs
          </Button>
        )}
      </div>
      {events.isError && !events.data ? (
        <ErrorMessage error={events.error} retry={() => void events.refetch()} />
      ) : !events.data ? (
        <Skeleton rows={10} />
      ) : shown.length === 0 ? (
        <EmptyState title="No matching events" />
      ) : (
        <>
          <EventList events={shown} links />
          {all.length >= limit && limit < 1_000 && (
            <div className="mt-3 text-center">
              <Button onClick={() => setLimit(1_000)}>Show older events</Button>
            </div>
          )}
        </>
      )}
    </>
  );
}
