import { useState } from "react";
import { useEvents } from "@/api/queries";
import type { Job } from "@/api/types";
import { Toggle } from "@/components/Button";
import { EventList } from "@/components/EventList";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";

/** Events of the job in order; "full" adds each event's data. */
export function TimelineTab({ job }: { job: Job }) {
  const events = useEvents({ limit: 1_000, job: job.id });
  const [full, setFull] = useState(false);
  if (events.isError && !events.data)
    return <ErrorMessage error={events.error} retry={() => void events.refetch()} />;
  if (!events.data) return <Skeleton rows={6} />;
  if (events.data.events.length === 0) return <EmptyState title="No events for this job" />;
  return (
    <>
      <div role="group" aria-label="Detail" className="mb-2 flex gap-1">
        <Toggle on={!full} onClick={() => setFull(false)}>
          Compact
        </Toggle>
        <Toggle on={full} onClick={() => setFull(true)}>
          Full
        </Toggle>
      </div>
      <EventList events={events.data.events} full={full} gaps />
    </>
  );
}
