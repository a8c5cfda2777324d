import { useNavigate, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { lazy, Suspense, useState } from "react";
import { useBox, useQueue, useRunning } from "@/api/queries";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { ChangedPill } from "@/components/ChangedPill";
import { PageHeader, Section } from "@/components/Layout";
import { useSteady } from "@/components/useSteady";
import { Message } from "@/components/Message";
import { NineOfTen } from "@/components/ExpectedStart";
import type { Box } from "@/api/types";
import { useNow } from "@/components/Time";
import { absoluteInZone, relative, wallClock } from "@/format/duration";
import { useLive } from "@/live/live";
import { plural } from "@/format/units";
import { fenceSentence } from "@/model/gpus/fence";
import { islands, jobsOn, named } from "@/model/gpus/topology";
import { Toggle } from "@/components/Button";
import { BerthPlan } from "@/screens/plan/BerthPlan";
import { DenseGpus } from "./DenseGpus";
import { GpuCard } from "./GpuCard";
import { GpuDialog } from "./GpuDialog";
import { NextUp } from "./NextUp";
import { Reservations } from "./Reservations";
import { RunningJobs } from "./RunningJobs";
import { useGpuHistory } from "./useGpuHistory";

const ReserveDialog = lazy(() => import("./ReserveDialog").then((m) => ({ default: m.ReserveDialog })));

/** Style of content that may be out of date. */
const OLD = "opacity-60 grayscale";

/** Time at which the next GPUs come free, beside a sentence that counts those that are. */
function NextFree({ box }: { box: Box }) {
  const now = useNow();
  const next = box.next_free;
  if (!next || (box.free_indices ?? []).length === 0) return null;
  const at = Date.parse(next.at);
  return (
    <span>
      next free: {named(next.gpu_indices)} {next.estimated && "about "}
      <time dateTime={next.at} title={absoluteInZone(at)}>
        {wallClock(at, now)}
        <NineOfTen at={next.late} median={at} now={now} /> ({relative(at, now)})
      </time>
      {!next.estimated && " at the latest"}
    </span>
  );
}

const DENSE = "berth.dense";
const MANY = 16;

/** Overview: map of the GPUs, reservations, running jobs and the next to start. */
export function OverviewScreen() {
  const box = useBox();
  const running = useRunning();
  const next = useQueue(5);
  const history = useGpuHistory(box.data);
  const steady = useSteady(running.data?.jobs ?? []);
  const upNext = useSteady(next.data?.jobs ?? []);
  const { gpu: shownIndex, reserve } = useSearch({ from: "/" });
  const navigate = useNavigate({ from: "/" });
  const { phase } = useLive();
  const [lit, setLit] = useState<number | null>(null);
  const [dense, setDense] = useState(() => localStorage.getItem(DENSE));

  const close = () => void navigate({ search: {}, resetScroll: false });

  if (box.isError && !box.data) return <ErrorMessage error={box.error} retry={() => void box.refetch()} />;
  const gpus = box.data?.gpus ?? [];
  // Many GPUs are a line each, unless the reader has chosen.
  const isDense = dense === null ? gpus.length > MANY : dense === "on";
  const stale = box.data?.stale === true || phase === "down";
  const shown = gpus.find((g) => g.index === shownIndex);
  return (
    <>
      <PageHeader
        title={
          box.data ? (
            <Message parts={box.data.sentence_parts} text={box.data.sentence} links={false} />
          ) : (
            "Overview"
          )
        }
        note={
          box.data && (
            <span className="flex flex-wrap gap-x-4">
              <NextFree box={box.data} />
              {box.data.fence && box.data.source !== "simulated" && (
                <span title={fenceSentence(box.data)}>
                  fence: <span className="text-ink">{box.data.fence}</span>
                </span>
              )}
            </span>
          )
        }
      >
        {gpus.length >= 8 && (
          <Toggle
            on={isDense}
            title="One line for each GPU"
            onClick={() => {
              const chosen = isDense ? "off" : "on";
              localStorage.setItem(DENSE, chosen);
              setDense(chosen);
            }}
          >
            Dense
          </Toggle>
        )}
      </PageHeader>
      {gpus.length > 0 && (
        <div className={clsx(stale && OLD)}>
          <BerthPlan />
        </div>
      )}
      {!box.data ? (
        <Skeleton rows={2} height={190} />
      ) : gpus.length === 0 ? (
        <div className="mb-5">
          <EmptyState title="No GPUs reported yet">
            The worker reports the GPUs when it runs. Run <code>berth status</code> on the box to see what it
            waits for.
          </EmptyState>
        </div>
      ) : (
        <section
          aria-label="GPUs"
          className={clsx(
            "mb-5 flex flex-col gap-3 min-[2200px]:grid min-[2200px]:grid-cols-2",
            stale && OLD,
          )}
        >
          {islands(box.data).map((island) => (
            <div
              key={island.gpus[0]?.uuid}
              className={island.label ? "rounded-xl border border-dashed border-line p-2" : ""}
            >
              {island.label && <h2 className="mb-1.5 px-1 text-xs text-muted">{island.label}</h2>}
              {isDense ? (
                <DenseGpus gpus={island.gpus} lit={lit} onLight={setLit} />
              ) : (
                <ul
                  className="grid grid-cols-2 gap-2 md:grid-cols-[repeat(auto-fit,minmax(13.5rem,1fr))]"
                  style={{ maxWidth: `${island.gpus.length * 24}rem` }}
                >
                  {island.gpus.map((gpu) => (
                    <li key={gpu.uuid}>
                      <GpuCard
                        gpu={gpu}
                        history={history(gpu.uuid)}
                        lit={lit !== null && jobsOn(gpu).some((holder) => holder.job_id === lit)}
                        dimmed={lit !== null && jobsOn(gpu).every((holder) => holder.job_id !== lit)}
                        onLight={setLit}
                      />
                    </li>
                  ))}
                </ul>
              )}
            </div>
          ))}
        </section>
      )}
      {gpus.length > 0 && (
        <div className={clsx(stale && OLD)}>
          <Reservations gpus={gpus} />
        </div>
      )}
      <div className={clsx("grid grid-cols-1 gap-x-6 2xl:grid-cols-[3fr_2fr]", stale && OLD)}>
        <Section
          title="Running"
          note={
            running.data
              ? `${plural(running.data.jobs.length, "job")}${running.data.next_cursor ? " and more" : ""}`
              : ""
          }
        >
          {running.isError && !running.data ? (
            <ErrorMessage error={running.error} retry={() => void running.refetch()} />
          ) : !running.data ? (
            <Skeleton rows={3} />
          ) : (
            <div {...steady.handlers}>
              <ChangedPill changes={steady.changes} release={steady.release} />
              <RunningJobs jobs={steady.shown} gpus={gpus} history={history} onLight={setLit} />
            </div>
          )}
        </Section>
        <Section title="Next to start">
          {next.isError && !next.data ? (
            <ErrorMessage error={next.error} retry={() => void next.refetch()} />
          ) : !next.data ? (
            <Skeleton rows={3} />
          ) : (
            <div {...upNext.handlers}>
              <ChangedPill changes={upNext.changes} release={upNext.release} />
              <NextUp jobs={upNext.shown} />
            </div>
          )}
        </Section>
      </div>
      {shown && !reserve && <GpuDialog gpu={shown} onClose={close} />}
      {reserve && gpus.length > 0 && (
        <Suspense>
          <ReserveDialog gpus={gpus} picked={shownIndex} onClose={close} />
        </Suspense>
      )}
    </>
  );
}
