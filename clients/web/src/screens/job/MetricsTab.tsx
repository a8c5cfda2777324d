import { useMemo, useState } from "react";
import { useCurves } from "@/api/queries";
import type { Attempt, Job, RunCurves } from "@/api/types";
import { Smoothing } from "@/charts/Smoothing";
import { Button, Toggle } from "@/components/Button";
import { download } from "@/components/download";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { absolute, zoneName } from "@/format/duration";
import { count, metric } from "@/format/units";
import { byWeight, tableOf, toCsv } from "@/model/runs/curves";
import type { Range } from "@/model/runs/curves";
import { GpuHistoryCharts } from "./GpuHistoryCharts";
import { MetricCharts } from "./MetricCharts";

/** Metrics of the run as charts or as a table, and the history of its GPUs. */
export function MetricsTab({ job, attempt }: { job: Job; attempt: Attempt | undefined }) {
  const growing = attempt !== undefined && attempt.state !== "ended";
  const [weight, setWeight] = useState(0);
  const [byTime, setByTime] = useState(false);
  const [logScale, setLogScale] = useState(false);
  const [clipped, setClipped] = useState(false);
  const [table, setTable] = useState(false);
  const [wanted, setWanted] = useState("");
  const [zoom, setZoom] = useState<Range>();
  const curves = useCurves(job.id, {
    ...(attempt ? { attempt: attempt.number } : {}),
    growing,
    byTime: byTime || table,
    ...(zoom ? { range: zoom } : {}),
  });
  const data = curves.data;
  const every = useMemo(() => byWeight(data?.names ?? []), [data?.names]);
  const found = wanted.trim().toLowerCase();
  const names = every.filter((name) => name.toLowerCase().includes(found));
  if (!attempt) return <EmptyState title="No metrics yet">Curves appear when the job starts.</EmptyState>;
  const none = every.length === 0;
  const timed = data?.timed === true;

  return (
    <>
      <Section
        title="Training"
        note={data && !none && <Source data={data} />}
        actions={
          !none && (
            <>
              {every.length > 4 && (
                <input
                  aria-label="Find a metric"
                  placeholder="find a metric"
                  value={wanted}
                  onChange={(event) => setWanted(event.target.value)}
                  className="field min-h-7 w-36 py-0.5 text-xs"
                />
              )}
              <Smoothing weight={weight} onWeight={setWeight} />
              {timed && (
                <Toggle
                  on={byTime}
                  onClick={() => {
                    setZoom(undefined);
                    setByTime(!byTime);
                  }}
                >
                  By time
                </Toggle>
              )}
              <Toggle on={logScale} onClick={() => setLogScale(!logScale)}>
                Log scale
              </Toggle>
              <Toggle on={clipped} onClick={() => setClipped(!clipped)}>
                Ignore outliers
              </Toggle>
              {zoom && (
                <Button small onClick={() => setZoom(undefined)}>
                  Show all
                </Button>
              )}
              <Toggle on={table} onClick={() => setTable(!table)}>
                Table
              </Toggle>
              <Button
                small
                title="Download the drawn points"
                onClick={() =>
                  data &&
                  download(
                    `job-${attempt.id}-metrics.csv`,
                    toCsv([["step", "time", ...every], ...tableOf(data.curves, every)]),
                    "text/csv",
                  )
                }
              >
                CSV
              </Button>
            </>
          )
        }
      >
        {curves.isError && !data ? (
          <ErrorMessage error={curves.error} retry={() => void curves.refetch()} />
        ) : !data ? (
          <Skeleton rows={1} height={220} />
        ) : none ? (
          <EmptyState title={growing ? "No metrics yet" : "This run reported no metrics"}>
            Curves come from <code>metrics.jsonl</code> in the run directory (<code>BERTH_RUN_DIR</code>), or
            from the log of any Hugging Face Trainer.
          </EmptyState>
        ) : names.length === 0 ? (
          <EmptyState title={`No metric has “${wanted.trim()}” in its name`} />
        ) : table ? (
          <DataTable names={names} data={data} />
        ) : (
          <MetricCharts
            job={job}
            curves={data.curves}
            names={names}
            weight={weight}
            byTime={byTime && timed}
            logScale={logScale}
            clipped={clipped}
            zoom={zoom}
            onZoom={setZoom}
          />
        )}
      </Section>
      <GpuHistoryCharts job={job} attempt={attempt} growing={growing} />
    </>
  );
}

function Source({ data }: { data: RunCurves }) {
  return (
    <>
      from {data.source === "log" ? "lines like {'loss': …} in the log" : <code>metrics.jsonl</code>},{" "}
      {count(data.total)} points; every minimum and maximum is drawn
      {!data.read_all && "; the file is longer than 32 MiB, its last part is shown"}
    </>
  );
}

const ROWS = 500;

/** The charts' points as a table. */
function DataTable({ names, data }: { names: readonly string[]; data: RunCurves }) {
  const rows = tableOf(data.curves, names);
  const shown = rows.slice(-ROWS);
  const head = ["step", `time (${zoneName()})`, ...names];
  return (
    <div className="panel max-h-[70dvh] overflow-auto" tabIndex={0} role="region" aria-label="Metric values">
      <table className="w-full text-sm tabular">
        <caption className="px-3 py-1 text-left text-xs text-muted">
          {rows.length > ROWS
            ? `The last ${ROWS} of ${count(rows.length)} drawn points`
            : `${count(rows.length)} points`}
        </caption>
        <thead className="sticky top-0 bg-panel text-right text-xs text-muted">
          <tr>
            {head.map((name) => (
              <th key={name} scope="col" className="px-3 py-1.5 font-medium">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={String(row[0])} className="border-t border-line text-right">
              {row.map((value, i) => (
                <td key={i} className="px-3 py-1 whitespace-nowrap">
                  {i === 1 ? (value === null ? "–" : absolute(value * 1000)) : metric(value)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
