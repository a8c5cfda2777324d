import { useId, useState } from "react";
import { useExplanation, useQueue } from "@/api/queries";
import type { Explanation, PointsKind } from "@/api/types";
import { signed } from "@/format/units";
import { byPosition } from "@/model/jobs/queue";
import { Message } from "./Message";

const PARTS: Record<PointsKind, string> = {
  length: "Length",
  fit: "Fit to free GPUs",
  age: "Waiting time",
  fair_share: "Fair share",
};
const OFFERED = 100;

/** Score of a queued job by factor, compared with the job just ahead of it or any other. */
export function ScoreBreakdown({ explanation, open = false }: { explanation: Explanation; open?: boolean }) {
  const id = explanation.job_id;
  const [against, setAgainst] = useState<number>();
  const [shown, setShown] = useState(open);
  const chosen = useExplanation(id, against).data ?? explanation;
  const { standing, compared } = chosen;
  if (!standing) return null;
  return (
    <section aria-label="Why this position" className="mt-4">
      <h3 className="mb-1.5 text-xs font-semibold text-muted">Why this position?</h3>
      {compared ? (
        <p className="mb-1.5">
          <Message parts={compared.sentence_parts} text={compared.sentence} />
        </p>
      ) : (
        <p className="mb-1.5">No job is ahead of it.</p>
      )}
      <details open={shown} onToggle={(event) => setShown(event.currentTarget.open)}>
        <summary className="min-h-6 text-muted">Score in detail</summary>
        {shown && <Factors explanation={chosen} onAgainst={setAgainst} />}
      </details>
    </section>
  );
}

function Factors({ explanation, onAgainst }: { explanation: Explanation; onAgainst: (id: number) => void }) {
  const select = useId();
  const line = byPosition(useQueue(OFFERED).data?.jobs ?? []);
  const { standing, compared } = explanation;
  if (!standing) return null;
  const theirs = compared?.standing;
  const others = line.filter((job) => job.id !== standing.job_id && job.position != null);
  // The compared job is listed even where the list does not reach that far.
  const known = others.some((job) => job.id === theirs?.job_id);
  return (
    <div className="mt-1.5">
      {theirs && (
        <div className="mb-2 flex flex-wrap items-center gap-2">
          <label htmlFor={select} className="text-muted">
            Compare with
          </label>
          <select
            id={select}
            className="field w-auto max-w-full py-0"
            value={theirs.job_id}
            onChange={(event) => onAgainst(Number(event.target.value))}
          >
            {!known && <option value={theirs.job_id}>{theirs.job_id}</option>}
            {others.map((job) => (
              <option key={job.id} value={job.id}>
                {job.position}. job {job.id}, {job.name.slice(0, 40)}, {job.user}
              </option>
            ))}
          </select>
        </div>
      )}
      <div className="relative overflow-x-auto" tabIndex={0} role="region" aria-label="Score">
        <table className="w-full">
          <caption className="sr-only">Score of job {standing.job_id} by factor</caption>
          <thead className="text-left text-xs text-muted">
            <tr className="[&>th]:py-1 [&>th]:pr-4 [&>th]:font-medium">
              <th scope="col">Factor</th>
              <th scope="col" className="text-right whitespace-nowrap">
                Job {standing.job_id}
              </th>
              {theirs && (
                <th scope="col" className="text-right whitespace-nowrap">
                  Job {theirs.job_id}
                </th>
              )}
              <th scope="col" className="max-sm:hidden">
                Why
              </th>
            </tr>
          </thead>
          <tbody className="[&>tr>*]:py-1 [&>tr>*]:pr-4">
            <tr className="border-t border-line">
              <th scope="row" className="text-left font-normal">
                Priority
              </th>
              <td className="text-right tabular">{standing.priority}</td>
              {theirs && <td className="text-right tabular">{theirs.priority}</td>}
              <td className="text-xs text-muted max-sm:hidden">Compared before the score.</td>
            </tr>
            {standing.parts.map((part) => (
              <tr key={part.kind} className="border-t border-line align-top">
                <th scope="row" className="text-left font-normal">
                  {PARTS[part.kind]}
                  <span className="block text-xs text-muted sm:hidden">
                    <Message parts={part.sentence_parts} text={part.sentence} />
                  </span>
                </th>
                <td className="text-right tabular">{signed(part.points)}</td>
                {theirs && (
                  <td className="text-right tabular">
                    {signed(theirs.parts.find((other) => other.kind === part.kind)?.points ?? 0)}
                  </td>
                )}
                <td className="text-xs leading-5 text-muted max-sm:hidden">
                  <Message parts={part.sentence_parts} text={part.sentence} />
                </td>
              </tr>
            ))}
            <tr className="border-t border-strong-line font-semibold">
              <th scope="row" className="text-left">
                Total
              </th>
              <td className="text-right tabular">{signed(standing.points)}</td>
              {theirs && <td className="text-right tabular">{signed(theirs.points)}</td>}
              <td className="text-xs font-normal text-muted max-sm:hidden">
                The job with the higher score starts first.
              </td>
            </tr>
          </tbody>
        </table>
      </div>
    </div>
  );
}
