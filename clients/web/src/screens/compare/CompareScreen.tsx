import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMutation, useQueries, useQueryClient } from "@tanstack/react-query";
import type { UseQueryResult } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { api } from "@/api/endpoints";
import { useAblation, useAblations } from "@/api/queries";
import type { AblationCaps, RunCurves } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button, Toggle, buttonLook } from "@/components/Button";
import { ConfirmDialog } from "@/components/Dialog";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { PageHeader, Section } from "@/components/Layout";
import { Ago } from "@/components/Time";
import { plural } from "@/format/units";
import { byWeight } from "@/model/runs/curves";
import { ACTIVE_STATES } from "@/model/jobs/job";
import type { AblationRun } from "@/model/runs/compare";
import { CompareCharts } from "./CompareCharts";
import { CompareTable } from "./CompareTable";
import { Scatter } from "./Scatter";
import { usePickedRuns } from "./usePickedRuns";

/** Comparison of the runs of an ablation, or of jobs selected in the list. */
export function CompareScreen() {
  const { ablation, jobs, metric } = useSearch({ from: "/compare" });
  const navigate = useNavigate({ from: "/compare" });
  const group = useAblation(ablation);
  const picked = usePickedRuns(ablation === undefined ? jobs : undefined);
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const [lit, setLit] = useState<number>();
  const runs: AblationRun[] | undefined = ablation === undefined ? picked.runs : group.data?.runs;
  const visible = useMemo(() => (runs ?? []).filter((run) => !hidden.has(run.job.id)), [runs, hidden]);
  if (ablation === undefined && jobs === undefined) return <AblationPicker />;

  const error = group.error ?? picked.error;
  const metrics = byWeight(
    [...new Set((runs ?? []).flatMap((run) => [...Object.keys(run.last), ...Object.keys(run.best)]))].filter(
      (n) => n !== "step" && n !== "time",
    ),
  );
  const shown = metric !== undefined && metrics.includes(metric) ? metric : metrics[0];
  return (
    <>
      <PageHeader
        title={ablation === undefined ? "Compare jobs" : `Ablation ${ablation}`}
        note={
          runs &&
          (group.data && group.data.total > runs.length
            ? `the newest ${runs.length} of ${plural(group.data.total, "run")}`
            : plural(runs.length, "run"))
        }
      >
        <RetryFailed runs={runs ?? []} made={group.data?.caps ? ablation : undefined} />
        <Link to="/compare" search={{}} className={buttonLook("plain", true)}>
          All ablations
        </Link>
      </PageHeader>
      {error && !runs ? (
        <ErrorMessage error={error} retry={() => void group.refetch()} />
      ) : !runs ? (
        <Skeleton rows={4} height={60} />
      ) : runs.length === 0 ? (
        <EmptyState title="No jobs have this label" />
      ) : (
        <>
          {group.data?.caps && <Caps caps={group.data.caps} />}
          {metrics.length > 0 && (
            <nav aria-label="Metric" className="mb-3 flex flex-wrap gap-1">
              {metrics.map((name) => (
                <Toggle
                  on={name === shown}
                  key={name}
                  onClick={() =>
                    void navigate({
                      search: (old) => ({ ...old, metric: name }),
                      replace: true,
                      resetScroll: false,
                    })
                  }
                >
                  {name}
                </Toggle>
              ))}
            </nav>
          )}
          {shown && <Curves runs={visible} metric={shown} lit={lit} />}
          <CompareTable
            name={ablation ?? "comparison"}
            runs={runs}
            metrics={metrics}
            hidden={hidden}
            onLight={setLit}
            onHide={(id) => {
              const next = new Set(hidden);
              if (!next.delete(id)) next.add(id);
              setHidden(next);
            }}
          />
          {shown && <Scatter runs={visible} metric={shown} />}
        </>
      )}
    </>
  );
}

/** Limits of the ablation, and its use of them. */
function Caps({ caps }: { caps: AblationCaps }) {
  const rule = caps.early_stop;
  const parts = [
    caps.max_running == null
      ? "no limit on concurrent runs"
      : `at most ${plural(caps.max_running, "run")} at once`,
    caps.max_gpu_hours == null
      ? `${caps.used_gpu_hours.toFixed(1)} GPU-hours used`
      : `${caps.used_gpu_hours.toFixed(1)} of ${caps.max_gpu_hours} GPU-hours used`,
    ...(rule ? [`early stopping by rule ${rule.rule} on ${rule.metric}`] : []),
  ];
  return (
    <p className="mb-3 text-sm text-muted">
      Created by {caps.user} <Ago time={caps.created_at} />: {parts.join(", ")}.
    </p>
  );
}

/** Button that queues every failed run again, after confirmation. `made`: as an ablation of this name. */
function RetryFailed({ runs, made }: { runs: readonly AblationRun[]; made: string | undefined }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState(false);
  const failed = runs.filter((run) => run.job.state === "failed").map((run) => run.job);
  const retry = useMutation({
    // All or none where the server knows them as one.
    mutationFn: async () => {
      if (made !== undefined) await api.rerun(made, "failed");
      else await Promise.all(failed.map((job) => api.act(job.id, "retry")));
    },
    onSuccess: () => {
      notify(`${plural(failed.length, "run")} queued again.`);
      setAsked(false);
    },
    onSettled: () => void client.invalidateQueries(),
  });
  if (failed.length === 0) return null;
  return (
    <>
      <Button small onClick={() => setAsked(true)}>
        Retry failed runs
      </Button>
      {asked && (
        <ConfirmDialog
          title={`Retry ${plural(failed.length, "failed run")}?`}
          consequence={`A new attempt is queued for ${failed.map((job) => `${job.id} ${job.name}`).join(", ")}. Their logs and files are kept.`}
          action={`Retry ${plural(failed.length, "run")}`}
          busy={retry.isPending}
          error={retry.isError && <ErrorMessage error={retry.error} />}
          onConfirm={() => retry.mutate()}
          onClose={() => setAsked(false)}
        />
      )}
    </>
  );
}

function Curves({
  runs,
  metric,
  lit,
}: {
  runs: readonly AblationRun[];
  metric: string;
  lit: number | undefined;
}) {
  const curves = useQueries({
    queries: runs.map((run) => ({
      queryKey: ["curves", run.job.id, metric, 1_000],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        api.curves(run.job.id, { points: 1_000, name: [metric], by: "time" }, signal),
      refetchInterval: ACTIVE_STATES.has(run.job.state) ? 5_000 : (false as const),
    })),
    combine: dataOf,
  });
  return <CompareCharts metric={metric} runs={runs} curves={curves} lit={lit} />;
}

/** The data of several queries: the same array as long as nothing in it changed. */
function dataOf(results: readonly UseQueryResult<RunCurves>[]): (RunCurves | undefined)[] {
  return results.map((result) => result.data);
}

function AblationPicker() {
  const ablations = useAblations();
  return (
    <>
      <PageHeader title="Compare" note="choose an ablation, or select jobs in the list and press Compare" />
      {ablations.isError && !ablations.data ? (
        <ErrorMessage error={ablations.error} retry={() => void ablations.refetch()} />
      ) : !ablations.data ? (
        <Skeleton rows={4} />
      ) : ablations.data.ablations.length === 0 ? (
        <EmptyState title="No ablations yet">
          Jobs that share the label <code>ablation</code> appear here.{" "}
          <Link to="/submit" className="text-accent underline">
            Submit an ablation
          </Link>
          , or select jobs in{" "}
          <Link to="/jobs" className="text-accent underline">
            the list
          </Link>
          .
        </EmptyState>
      ) : (
        <Section title="Ablations">
          <ul className="panel divide-y divide-line">
            {ablations.data.ablations.map((a) => (
              <li key={a.id} className="flex flex-wrap items-baseline gap-x-3 px-4 py-2 text-sm">
                <Link
                  to="/compare"
                  search={{ ablation: a.id }}
                  className="font-medium text-accent hover:underline"
                >
                  {a.id}
                </Link>
                <span className="text-muted">
                  {plural(a.jobs, "run")}
                  {a.unfinished > 0 && `, ${a.unfinished} not finished`}
                </span>
                <span className="ml-auto text-xs text-muted">{a.users.join(", ")}</span>
              </li>
            ))}
          </ul>
        </Section>
      )}
    </>
  );
}
