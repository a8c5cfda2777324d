import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { memo, useMemo, useState } from "react";
import type { PlanTrial as Trial } from "@/api/endpoints";
import { usePlan } from "@/api/queries";
import type { BoxPlan } from "@/api/types";
import { roundTicks } from "@/charts/ticks";
import { Toggle } from "@/components/Button";
import { ErrorMessage, Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { wallClock, zoneName } from "@/format/duration";
import { plural } from "@/format/units";
import { jobColor } from "@/model/jobs/job";
import { areaOf, barText, placeOf, rowsOf } from "@/model/plan/rows";
import type { Piece, Row } from "@/model/plan/rows";
import { Handle } from "./Handle";
import { PlanTable } from "./PlanTable";
import { PlanTrial } from "./PlanTrial";

const HOURS = [6, 24, 48] as const;

/** The berth plan: a row for each GPU, from the past over now to what the scheduler expects. */
export function BerthPlan() {
  const [hours, setHours] = useState<number>(48);
  const [table, setTable] = useState(false);
  const [trial, setTrial] = useState<Trial>();
  const plan = usePlan(hours, trial);
  const data = plan.data;
  if (data && data.gpus.length === 0) return null;
  return (
    <Section
      title="Berth plan"
      note={data && <Notes plan={data} />}
      actions={
        <>
          {HOURS.map((one) => (
            <Toggle
              key={one}
              on={hours === one}
              title={`${one} hours back and ahead`}
              onClick={() => setHours(one)}
            >
              ±{one} h
            </Toggle>
          ))}
          <Toggle on={table} onClick={() => setTable(!table)}>
            Table
          </Toggle>
        </>
      }
    >
      {trial && (
        <PlanTrial
          key={trial.job}
          trial={trial}
          bar={data?.bars.find((bar) => bar.job_id === trial.job && bar.kind === "planned")}
          error={plan.error}
          pending={plan.isPlaceholderData}
          onTry={setTrial}
          onClose={() => setTrial(undefined)}
        />
      )}
      {plan.isError && !data ? (
        <ErrorMessage error={plan.error} retry={() => void plan.refetch()} />
      ) : !data ? (
        <Skeleton rows={1} height={200} />
      ) : table ? (
        <PlanTable plan={data} onTry={(job) => setTrial({ job })} />
      ) : (
        <PlanChart plan={data} onTry={setTrial} />
      )}
    </Section>
  );
}

function Notes({ plan }: { plan: BoxPlan }) {
  const parts = [
    `times are ${zoneName()}`,
    ...(plan.short ? [`${plural(plan.short, "short job")} not drawn`] : []),
    ...(plan.unplanned ? [`${plural(plan.unplanned, "queued job")} beyond the plan`] : []),
  ];
  return <>{parts.join(" · ")}</>;
}

/** Above this many GPUs the rows are thin. */
const MANY = 16;

const PlanChart = memo(function PlanChart({ plan, onTry }: { plan: BoxPlan; onTry: (trial: Trial) => void }) {
  const rows = useMemo(() => rowsOf(plan), [plan]);
  const place = placeOf(plan);
  const now = Date.parse(plan.now);
  const [begin, end] = [Date.parse(plan.starts_at), Date.parse(plan.ends_at)];
  const ticks = roundTicks(begin, end - begin, 9).filter((t) => Math.abs(place(t) - place(now)) > 0.05);
  const thin = rows.length > MANY;
  const bars = plan.bars.length;
  return (
    <div className="panel overflow-hidden px-3 py-2" data-plan>
      <div
        aria-hidden
        data-ticks
        className="relative mb-1 ml-14 h-4 text-2xs whitespace-nowrap text-muted tabular"
      >
        {ticks.map((tick, i) => (
          <span
            key={tick}
            className={clsx("absolute border-l border-line pl-1", i % 2 === 1 && "max-sm:hidden")}
            style={{ left: `${place(tick) * 100}%` }}
          >
            {wallClock(tick, ticks[i - 1] ?? now)}
          </span>
        ))}
        <span
          className="absolute -translate-x-1/2 rounded bg-accent px-1 text-on-accent"
          style={{ left: `${place(now) * 100}%` }}
        >
          now
        </span>
      </div>
      <ul aria-label={`Plan of ${plural(rows.length, "GPU")} with ${plural(bars, "job")}`}>
        {rows.map((row) => (
          <PlanRow
            key={row.uuid}
            row={row}
            now={now}
            nowAt={place(now)}
            thin={thin}
            spanMs={end - begin}
            onTry={onTry}
          />
        ))}
      </ul>
    </div>
  );
});

function PlanRow({
  row,
  now,
  nowAt,
  thin,
  spanMs,
  onTry,
}: {
  row: Row;
  now: number;
  nowAt: number;
  thin: boolean;
  spanMs: number;
  onTry: (trial: Trial) => void;
}) {
  const past = row.pieces.filter((piece) => piece.bar.kind === "past");
  const rest = row.pieces.filter((piece) => piece.bar.kind !== "past");
  return (
    <li className="flex items-center gap-2 text-xs" data-plan-gpu={row.index}>
      <span className="w-12 shrink-0 tabular text-muted">GPU {row.index}</span>
      <span
        className={clsx(
          "relative min-w-0 flex-1 overflow-hidden rounded-sm bg-sunken",
          thin ? "my-px h-3" : "my-0.5 h-6",
        )}
      >
        <svg
          aria-hidden
          viewBox="0 0 1 1"
          preserveAspectRatio="none"
          className="absolute inset-0 size-full text-muted"
        >
          {past.map((piece, i) => (
            <rect
              key={i}
              x={piece.from}
              y="0"
              width={Math.max(0.001, piece.to - piece.from)}
              height="1"
              fill={jobColor(piece.bar.job_id)}
              opacity="0.3"
            >
              <title>{barText(piece.bar, now)}</title>
            </rect>
          ))}
          <path
            d={areaOf(row.utilization, 0, nowAt)}
            fill="currentColor"
            opacity="0.45"
            pointerEvents="none"
          />
        </svg>
        {row.walls.map((wall, i) => (
          <span
            key={`wall ${i}`}
            role="img"
            aria-label={`GPU ${row.index} ${wall.text}`}
            title={`GPU ${row.index} ${wall.text}`}
            data-wall={wall.kind}
            className={clsx(
              "absolute inset-y-0 border border-dashed",
              wall.kind === "blocked"
                ? "striped border-warn text-warn opacity-60"
                : "border-violet bg-violet-soft",
            )}
            style={{ left: `${wall.from * 100}%`, width: `max(3px, ${(wall.to - wall.from) * 100}%)` }}
          />
        ))}
        {rest.map((piece) => (
          <Bar key={piece.bar.job_id} piece={piece} now={now} thin={thin} spanMs={spanMs} onTry={onTry} />
        ))}
        <span
          aria-hidden
          className="pointer-events-none absolute inset-y-0 w-px bg-accent"
          style={{ left: `${nowAt * 100}%` }}
        />
      </span>
    </li>
  );
}

function Bar({
  piece,
  now,
  thin,
  spanMs,
  onTry,
}: {
  piece: Piece;
  now: number;
  thin: boolean;
  spanMs: number;
  onTry: (trial: Trial) => void;
}) {
  const { bar, from, to, open } = piece;
  const running = bar.kind === "running";
  const color = jobColor(bar.job_id);
  const text = barText(bar, now);
  return (
    <>
      <Link
        to="/jobs/$jobId"
        params={{ jobId: String(bar.job_id) }}
        // Too small to be reached by Tab one after the other: the table has the same for the keyboard.
        tabIndex={-1}
        aria-label={text}
        title={text}
        data-plan-job={bar.job_id}
        className={clsx(
          "absolute inset-y-0 overflow-hidden rounded-sm text-2xs whitespace-nowrap",
          !running && "striped",
        )}
        style={{
          left: `${from * 100}%`,
          width: `max(3px, ${(to - from) * 100}%)`,
          color,
          ...(running ? { background: color } : { boxShadow: "inset 0 0 0 1.5px currentColor" }),
          ...(open ? { maskImage: "linear-gradient(90deg, black 60%, transparent)" } : {}),
        }}
      >
        {!thin && (to - from) * 1000 > 30 && (
          <span aria-hidden className="rounded-sm bg-panel px-1 font-medium text-ink">
            {bar.job_id}
          </span>
        )}
      </Link>
      {!running && <Handle piece={piece} spanMs={spanMs} onTry={onTry} />}
      <Whisker from={to} to={piece.endsBy} color={color} />
      {!running && <Whisker from={from} to={piece.startsBy} color={color} low />}
    </>
  );
}

/** A thin line to where it may reach: the end by the limit, or (low) the start by nine times of ten. */
function Whisker({
  from,
  to,
  color,
  low = false,
}: {
  from: number;
  to: number | undefined;
  color: string;
  low?: boolean;
}) {
  if (to === undefined || to - from < 0.002) return null;
  return (
    <span
      aria-hidden
      className={clsx("pointer-events-none absolute h-px", low ? "bottom-0.5 h-0.5" : "top-1/2")}
      style={{ left: `${from * 100}%`, width: `${(to - from) * 100}%`, background: color }}
    />
  );
}
