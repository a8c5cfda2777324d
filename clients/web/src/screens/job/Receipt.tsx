import { useQuery } from "@tanstack/react-query";
import { api } from "@/api/endpoints";
import type { Job } from "@/api/types";
import { ACTIVE_STATES } from "@/model/jobs/job";
import { receiptLines, TOKEN_METRICS, tokensOf } from "@/model/jobs/receipt";

/** Receipt of the job: GPU-hours, energy, cost and what came of it; nothing before it held a GPU. */
export function Receipt({ job }: { job: Job }) {
  const usage = job.usage;
  const running = ACTIVE_STATES.has(job.state);
  const tokens = useQuery({
    queryKey: ["curves", job.id, "tokens", job.attempts?.length],
    queryFn: ({ signal }) => api.curves(job.id, { name: TOKEN_METRICS, by: "time", points: 500 }, signal),
    enabled: usage?.energy_kwh != null,
    refetchInterval: running ? 30_000 : false,
    select: (found) => tokensOf(found.curves),
  }).data;
  if (!usage) return null;
  // The tokens are those of the last attempt: with several, its energy is not the job's.
  const alone = (job.attempts ?? []).length === 1;
  return (
    <section aria-label="Receipt" data-receipt className="mt-3">
      <dl className="flex flex-wrap gap-x-5 gap-y-1 text-sm">
        <div className="text-muted">
          <dt className="sr-only">Receipt</dt>
          <dd>{running ? "Used so far" : "Used"}</dd>
        </div>
        {receiptLines(usage, alone ? tokens : undefined).map((line) => (
          <div key={line.name} title={line.about} className="flex gap-1.5">
            <dt className="text-muted">{line.name}</dt>
            <dd className="font-medium tabular">{line.value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
