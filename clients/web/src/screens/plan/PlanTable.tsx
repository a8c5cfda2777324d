import { Button } from "@/components/Button";
import { JobLink } from "@/components/JobLink";
import type { BoxPlan } from "@/api/types";
import { absoluteInZone, wallClock } from "@/format/duration";
import { ranges } from "@/model/gpus/topology";

/** The plan as a table: what runs, then what is planned, then what was. */
export function PlanTable({ plan, onTry }: { plan: BoxPlan; onTry: (job: number) => void }) {
  const now = Date.parse(plan.now);
  const order = { running: 0, planned: 1, past: 2 };
  const bars = [...plan.bars].sort((a, b) => order[a.kind] - order[b.kind]);
  return (
    <div
      className="panel relative max-h-[70dvh] overflow-auto"
      tabIndex={0}
      role="region"
      aria-label="Plan as a table"
    >
      <table className="w-full text-sm">
        <caption className="sr-only">Jobs of the plan</caption>
        <thead className="sticky top-0 bg-panel text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
            <th>Job</th>
            <th>User</th>
            <th>GPUs</th>
            <th>Start</th>
            <th>Start by (9 of 10)</th>
            <th>End</th>
            <th>Limit</th>
            <th>
              <span className="sr-only">Dry run</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {bars.map((bar) => (
            <tr
              key={`${bar.kind} ${bar.job_id} ${bar.starts_at}`}
              className="border-t border-line [&>td]:px-3 [&>td]:py-1"
            >
              <td className="max-w-64">
                <JobLink job={{ id: bar.job_id, name: bar.name }} />
              </td>
              <td>{bar.user}</td>
              <td className="tabular">{ranges(bar.gpu_indices)}</td>
              <td className="whitespace-nowrap">
                <Moment at={bar.starts_at} now={now} about={bar.kind === "planned"} />
              </td>
              <td className="whitespace-nowrap">
                <Moment at={bar.starts_by} now={now} />
              </td>
              <td className="whitespace-nowrap">
                <Moment at={bar.ends_at} now={now} about={bar.kind !== "past"} />
              </td>
              <td className="whitespace-nowrap">
                <Moment at={bar.ends_by} now={now} />
              </td>
              <td className="text-right">
                {bar.kind === "planned" && (
                  <Button
                    small
                    aria-label={`Try something else for job ${bar.job_id}`}
                    onClick={() => onTry(bar.job_id)}
                  >
                    Try
                  </Button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Moment({ at, now, about = false }: { at: string | null | undefined; now: number; about?: boolean }) {
  if (at == null) return <span className="text-muted">–</span>;
  const time = Date.parse(at);
  return (
    <time dateTime={at} title={absoluteInZone(time)} className="tabular">
      {about && "about "}
      {wallClock(time, now)}
    </time>
  );
}
