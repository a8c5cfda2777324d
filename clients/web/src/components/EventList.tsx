import { Link } from "@tanstack/react-router";
import type { BerthEvent } from "@/api/types";
import { absoluteInZone, span, wallClock } from "@/format/duration";
import { useNow } from "./Time";
import { Message } from "./Message";

interface Props {
  events: readonly BerthEvent[];
  full?: boolean;
  /** Show how long it took from one event to the next. */
  gaps?: boolean;
  links?: boolean;
}

/** Events as a table: when, what, who, and the sentence. */
export function EventList({ events, full = false, gaps = false, links = false }: Props) {
  const now = useNow();
  return (
    <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Events">
      <table className="w-full text-sm">
        <caption className="sr-only">Events</caption>
        <thead className="text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
            <th>Time</th>
            {gaps && <th>After</th>}
            <th className="max-sm:hidden">Event</th>
            <th className="max-sm:hidden">By</th>
            {links && <th>Job</th>}
            <th>What happened</th>
          </tr>
        </thead>
        <tbody>
          {events.map((event, i) => {
            const at = Date.parse(event.time);
            const before = events[i - 1];
            return (
              <tr key={event.id} className="border-t border-line align-top [&>td]:px-3 [&>td]:py-1.5">
                <td className="whitespace-nowrap tabular">
                  <time dateTime={event.time} title={absoluteInZone(at)}>
                    {wallClock(at, now)}:{String(new Date(at).getSeconds()).padStart(2, "0")}
                  </time>
                </td>
                {gaps && (
                  <td className="whitespace-nowrap tabular text-muted">
                    {before ? `+${gap((at - Date.parse(before.time)) / 1000)}` : ""}
                  </td>
                )}
                <td className="whitespace-nowrap max-sm:hidden">
                  <code className="text-xs">{event.kind}</code>
                </td>
                <td className="text-muted max-sm:hidden">{event.actor}</td>
                {links && (
                  <td>
                    {event.job_id != null && (
                      <Link
                        to="/jobs/$jobId"
                        params={{ jobId: String(event.job_id) }}
                        className="tabular text-accent underline"
                      >
                        {event.attempt ?? event.job_id}
                      </Link>
                    )}
                  </td>
                )}
                <td className="sm:min-w-64">
                  <Message parts={event.message_parts} text={event.message} />
                  <span className="block text-xs text-muted sm:hidden">
                    <code>{event.kind}</code> by {event.actor}
                  </span>
                  {full && Object.keys(event.data ?? {}).length > 0 && (
                    <code className="mt-1 block text-xs wrap-anywhere whitespace-pre-wrap text-muted">
                      {JSON.stringify(event.data, null, 1)}
                    </code>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function gap(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)}ms` : span(seconds);
}
