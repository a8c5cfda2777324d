import { ArrowDown, ArrowUp, Trophy } from "lucide-react";
import { useState } from "react";
import { Button, Toggle } from "@/components/Button";
import { CopyButton } from "@/components/Copy";
import { download } from "@/components/download";
import { Section } from "@/components/Layout";
import { Message } from "@/components/Message";
import { JobLink } from "@/components/JobLink";
import { StateBadge } from "@/components/StateBadge";
import { metric as number } from "@/format/units";
import { bestOf, bySeed, meanAndDeviation, missing, parameters, spread } from "@/model/runs/compare";
import { lessIsBetter, toCsv, toMarkdown, troubleText } from "@/model/runs/curves";
import type { AblationRun } from "@/model/runs/compare";
import { lossPerGpuHour, short } from "@/model/jobs/receipt";

interface Props {
  name: string;
  runs: readonly AblationRun[];
  metrics: readonly string[];
  hidden: ReadonlySet<number>;
  onHide: (id: number) => void;
  onLight: (id: number | undefined) => void;
}

/** Value shown in the table: the best where the metric's name gives a direction, else the last. */
function valueOf(run: AblationRun, name: string): number | null {
  return (lessIsBetter(name) === undefined ? run.last[name] : run.best[name]) ?? run.last[name] ?? null;
}

/** What is wrong with the end of a run's curve: a best value from before it is no healthy one. */
function Wrong({ run, metric }: { run: AblationRun; metric: string }) {
  const trouble = run.trouble?.[metric];
  return trouble ? <span className="block text-xs font-normal text-bad">{troubleText(trouble)}</span> : null;
}

/** Fall of the loss for each GPU-hour. */
function PerHour({ value, wins }: { value: number | undefined; wins: boolean }) {
  if (value === undefined) return <td className="text-right text-muted">–</td>;
  return (
    <td
      data-per-hour
      className={`text-right whitespace-nowrap tabular ${wins ? "font-semibold text-good" : ""}`}
    >
      {value > 0 ? short(value) : number(value)}
    </td>
  );
}

/** Table of the runs: differing parameters and metrics, with the best values marked. */
export function CompareTable({ name, runs, metrics, hidden, onHide, onLight }: Props) {
  const [all, setAll] = useState(false);
  const columns = parameters(runs, all);
  // The learning rate is a setting that moves, not something reached.
  const shown = all ? metrics : metrics.filter((m) => m !== "learning_rate").slice(0, 6);
  const best = Object.fromEntries(
    shown.map((m) => {
      const less = lessIsBetter(m);
      return [
        m,
        less === undefined
          ? undefined
          : bestOf(
              // A run that ended badly is not the best for what it had been before.
              runs.map((run) => (run.trouble?.[m] ? null : valueOf(run, m))),
              less,
            ),
      ];
    }),
  );
  // What a GPU-hour bought: the first loss among the columns stands for it.
  const loss = shown.find((m) => /loss/i.test(m));
  const perHour = (run: AblationRun) =>
    loss === undefined || run.trouble?.[loss]
      ? undefined
      : lossPerGpuHour(run.first?.[loss], run.best[loss], run.job.usage);
  const used = runs.some((run) => run.job.usage);
  const bestPerHour = bestOf(runs.map(perHour), false);
  const rows = () => [
    [
      "job",
      "name",
      "state",
      ...columns.map((c) => c.name),
      "step",
      ...shown,
      "gpu_hours",
      "loss_per_gpu_hour",
    ],
    ...runs.map((run) => [
      run.job.id,
      run.job.name,
      run.job.state,
      ...columns.map((c) => c.value(run)),
      run.step ?? null,
      ...shown.map((m) => valueOf(run, m)),
      run.job.usage?.gpu_hours ?? null,
      perHour(run) ?? null,
    ]),
  ];
  const seeds = bySeed(runs).filter((group) => group.runs.length > 1);
  return (
    <Section
      title="Runs"
      note="metrics: best value; settings: last value"
      actions={
        <>
          <Toggle on={all} onClick={() => setAll(!all)}>
            All columns
          </Toggle>
          <Button small onClick={() => download(`${name}.csv`, toCsv(rows()), "text/csv")}>
            CSV
          </Button>
          <Button small onClick={() => download(`${name}.md`, toMarkdown(rows()), "text/markdown")}>
            Markdown
          </Button>
          <CopyButton text={toMarkdown(rows())} label="Copy the table as Markdown" />
        </>
      }
    >
      <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Runs as a table">
        <table className="w-full text-sm">
          <caption className="sr-only">Runs with differing parameters and metrics</caption>
          <thead className="text-left text-xs text-muted">
            <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium [&>th]:whitespace-nowrap">
              <th>
                <span className="sr-only">Shown</span>
              </th>
              <th>Run</th>
              <th>State</th>
              {columns.map((c) => (
                <th key={c.name}>{c.name}</th>
              ))}
              <th className="text-right">step</th>
              {shown.map((m) => {
                const less = lessIsBetter(m);
                const Arrow = less ? ArrowDown : ArrowUp;
                return (
                  <th
                    key={m}
                    className="text-right"
                    title={
                      less === undefined
                        ? "The name does not say which direction is better"
                        : less
                          ? "Lower is better"
                          : "Higher is better"
                    }
                  >
                    {m}{" "}
                    {less !== undefined && (
                      <Arrow
                        aria-label={less ? "lower is better" : "higher is better"}
                        className="inline size-3"
                      />
                    )}
                  </th>
                );
              })}
              {used && (
                <>
                  <th className="text-right" title="GPUs held, times the hours">
                    GPU-hours
                  </th>
                  {loss !== undefined && (
                    <th
                      className="text-right"
                      title={`Fall of ${loss} from its first to its best value, per GPU-hour; higher is better`}
                    >
                      fall of {loss} per GPU-hour
                    </th>
                  )}
                </>
              )}
            </tr>
          </thead>
          <tbody>
            {runs.map((run) => (
              <tr
                key={run.job.id}
                onMouseEnter={() => onLight(run.job.id)}
                onMouseLeave={() => onLight(undefined)}
                onFocus={() => onLight(run.job.id)}
                onBlur={() => onLight(undefined)}
                className="border-t border-line hover:bg-hover [&>td]:px-3 [&>td]:py-1.5"
              >
                <td>
                  <input
                    type="checkbox"
                    className="size-4"
                    aria-label={`Show job ${run.job.id}`}
                    checked={!hidden.has(run.job.id)}
                    onChange={() => onHide(run.job.id)}
                  />
                </td>
                <td className="max-w-64">
                  <JobLink job={run.job} />
                  {run.differences?.map((one) => (
                    <p key={one.what} className="text-xs text-warn">
                      Not comparable: <Message parts={one.sentence_parts} text={one.sentence} />
                    </p>
                  ))}
                  {run.shortened && (
                    <p className="text-xs text-muted">
                      <Message parts={run.shortened.sentence_parts} text={run.shortened.sentence} />
                    </p>
                  )}
                </td>
                <td>
                  <StateBadge job={run.job} />
                </td>
                {columns.map((c) => (
                  <td key={c.name} className="whitespace-nowrap">
                    {c.value(run) || <span className="text-muted">–</span>}
                  </td>
                ))}
                <td className="text-right tabular">{run.step == null ? "–" : number(run.step)}</td>
                {shown.map((m) => {
                  const value = valueOf(run, m);
                  if (value === null)
                    return (
                      <td key={m} className="text-right text-xs whitespace-nowrap text-muted">
                        {run.trouble?.[m] ? <Wrong run={run} metric={m} /> : missing(run)}
                      </td>
                    );
                  const wins = best[m] === value && !run.trouble?.[m];
                  return (
                    <td
                      key={m}
                      data-best={wins || undefined}
                      className={`text-right whitespace-nowrap tabular ${wins ? "font-semibold text-good" : ""}`}
                    >
                      {wins && <Trophy aria-label="best" className="mr-1 inline size-3.5" />}
                      {number(value)}
                      <Wrong run={run} metric={m} />
                    </td>
                  );
                })}
                {used && (
                  <>
                    <td className="text-right tabular">
                      {run.job.usage ? short(run.job.usage.gpu_hours) : "–"}
                    </td>
                    {loss !== undefined && (
                      <PerHour value={perHour(run)} wins={perHour(run) === bestPerHour} />
                    )}
                  </>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {seeds.length > 0 && (
        <div className="mt-3 panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Seeds">
          <table className="w-full text-sm">
            <caption className="px-3 py-1.5 text-left text-xs text-muted">
              Mean ± sample standard deviation over seeds
            </caption>
            <thead className="text-left text-xs text-muted">
              <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
                <th>Setting</th>
                <th className="text-right">n</th>
                {shown.map((m) => (
                  <th key={m} className="text-right">
                    {m}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {seeds.map((group) => (
                <tr key={group.key} className="border-t border-line [&>td]:px-3 [&>td]:py-1.5">
                  <td className="min-w-36">{group.key || "all"}</td>
                  <td className="text-right tabular">{group.runs.length}</td>
                  {shown.map((m) => {
                    const s = spread(group.runs.map((run) => valueOf(run, m)));
                    return (
                      <td key={m} className="text-right whitespace-nowrap tabular">
                        {s
                          ? `${meanAndDeviation(s.mean, s.deviation)}${s.n < group.runs.length ? ` (n ${s.n})` : ""}`
                          : "–"}
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Section>
  );
}
