import { Link } from "@tanstack/react-router";
import type { Job, Reservation } from "@/api/types";
import { Section } from "@/components/Layout";
import { useNow } from "@/components/Time";
import { duration, timeOfDay, wallClock } from "@/format/duration";
import { plural } from "@/format/units";
import { jobColor } from "@/model/jobs/job";
import { planBars } from "@/model/jobs/queue";
import type { PlanBar } from "@/model/jobs/queue";
import { whose } from "@/model/gpus/reservations";
import { roundTicks } from "@/charts/ticks";
import { named } from "@/model/gpus/topology";

const ROWS = 24;

/** Gantt chart of the next hours: running jobs, expected starts and reservations. */
export function PlanChart({
  running,
  queued,
  reservations,
}: {
  running: readonly Job[];
  queued: readonly Job[];
  reservations: readonly Reservation[];
}) {
  const now = Math.floor(useNow() / 60_000) * 60_000;
  const bars = planBars(running, queued, now).slice(0, ROWS);
  const kept = reservations.slice(0, ROWS).map((one) => ({
    one,
    from: Date.parse(one.starts_at),
    to: Date.parse(one.ends_at),
  }));
  if (bars.length === 0 && kept.length === 0) return null;
  const ends = [...bars.flatMap((b) => [b.to ?? 0, b.from]), ...kept.flatMap((k) => [k.from, k.to])].filter(
    (t) => t > now,
  );
  const span = Math.min(48 * 3_600_000, Math.max(3_600_000, ...ends.map((t) => t - now)));
  const share = (time: number) => Math.min(1, Math.max(0, (time - now) / span));
  // Beside "now" and at the edge there is no room for a time.
  const ticks = roundTicks(now, span, 4).filter((t) => share(t) > 0.1 && share(t) < 0.9);
  return (
    <Section title="Plan" note="based on time limits; when jobs end early, later jobs start sooner">
      <div className="panel overflow-hidden px-3 py-2">
        <div
          aria-hidden
          data-ticks
          className="relative mb-1 ml-44 h-4 text-2xs whitespace-nowrap text-muted tabular max-sm:ml-24"
        >
          {[now, ...ticks].map((tick, i, all) => (
            <span
              key={tick}
              className="absolute border-l border-line pl-1"
              style={{ left: `${share(tick) * 100}%` }}
            >
              {i === 0 ? "now" : wallClock(tick, all[i - 1] ?? now)}
            </span>
          ))}
        </div>
        <ul className="flex flex-col gap-1">
          {kept
            .filter(({ from }) => from < now + span)
            .map(({ one, from, to }) => (
              <li key={`reservation ${one.id}`} className="flex items-center gap-2 text-xs">
                <Link
                  to="/"
                  className="w-42 shrink-0 truncate leading-6 text-violet hover:underline max-sm:w-22"
                >
                  {named(one.gpu_indices)} for {whose(one)}
                </Link>
                <span
                  className="relative h-5 min-w-0 flex-1 rounded bg-sunken"
                  role="img"
                  aria-label={describeReservation(one, now)}
                  title={describeReservation(one, now)}
                >
                  <span
                    className="absolute inset-y-0 rounded border border-dashed border-violet bg-violet-soft"
                    style={{
                      left: `${share(from) * 100}%`,
                      width: `max(3px, ${(share(to) - share(from)) * 100}%)`,
                    }}
                  />
                </span>
              </li>
            ))}
          {bars.map((bar) => (
            <li key={bar.job.id} className="flex items-center gap-2 text-xs">
              <Link
                to="/jobs/$jobId"
                params={{ jobId: String(bar.job.id) }}
                className="w-42 shrink-0 truncate leading-6 hover:underline max-sm:w-22"
              >
                <span className="tabular text-muted">{bar.job.id}</span> {bar.job.name}
              </Link>
              <span
                className="relative h-5 min-w-0 flex-1 rounded bg-sunken"
                role="img"
                aria-label={describeJob(bar, now)}
                title={describeJob(bar, now)}
              >
                <span
                  className={`absolute inset-y-0 rounded ${bar.running ? "" : "striped"} ${bar.to === undefined ? "rounded-r-none" : ""}`}
                  style={{
                    left: `${share(bar.from) * 100}%`,
                    width: `max(3px, ${(share(bar.to ?? now + span) - share(bar.from)) * 100}%)`,
                    color: jobColor(bar.job.id),
                    ...(bar.running
                      ? { background: "currentColor" }
                      : { boxShadow: "inset 0 0 0 1.5px currentColor" }),
                    ...(bar.to === undefined
                      ? { maskImage: "linear-gradient(90deg, black 60%, transparent)" }
                      : {}),
                  }}
                />
              </span>
            </li>
          ))}
        </ul>
      </div>
    </Section>
  );
}

function describeReservation(one: Reservation, now: number): string {
  const [from, to] = [wallClock(Date.parse(one.starts_at), now), wallClock(Date.parse(one.ends_at), now)];
  const why = one.reason ? `: ${one.reason}` : "";
  return `${named(one.gpu_indices)} reserved for ${whose(one)} from ${from} to ${to}${why}`;
}

function describeJob(bar: PlanBar, now: number): string {
  const gpus = bar.running ? `on ${named(bar.job.gpu_indices ?? [])}` : plural(bar.job.gpus, "GPU");
  const from = bar.running ? "runs" : `expected to start in ${duration((bar.from - now) / 1000)}`;
  const to = bar.to === undefined ? "no time limit" : `until ${timeOfDay(bar.to)} at the latest`;
  return `Job ${bar.job.id} ${from} ${gpus}, ${to}`;
}
