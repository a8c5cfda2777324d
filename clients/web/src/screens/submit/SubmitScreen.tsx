import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { api } from "@/api/endpoints";
import { useBox } from "@/api/queries";
import { request } from "@/api/request";
import type { Job, JobSpec } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button } from "@/components/Button";
import { ErrorMessage } from "@/components/Feedback";
import { PageHeader } from "@/components/Layout";
import { FieldLabels } from "@/components/Message";
import { useSettled } from "@/components/useSettled";
import { plural } from "@/format/units";
import { fixOf } from "@/model/jobs/fix";
import { ablationSpecs, cells, draftOf, EMPTY, specOfDraft } from "@/model/submit/draft";
import type { Draft } from "@/model/submit/draft";
import { LABELS } from "@/model/submit/labels";
import { launchSpecs, mayBeSeveral } from "@/model/submit/launches";
import { Launches } from "./Launches";
import { SubmitForm } from "./SubmitForm";
import { SubmitPreview } from "./SubmitPreview";

const KEPT = "berth.draft";

/** A random key for the Idempotency-Key header; crypto.randomUUID is absent over plain HTTP. */
function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function keptDraft(): Draft {
  try {
    return { ...EMPTY, ...(JSON.parse(localStorage.getItem(KEPT) ?? "{}") as Partial<Draft>) };
  } catch {
    return EMPTY;
  }
}

/** Form to submit a job or an ablation, with a dry run beside it. */
export function SubmitScreen() {
  const { like, fix } = useSearch({ from: "/submit" });
  const navigate = useNavigate();
  const client = useQueryClient();
  const box = useBox().data;
  const [draft, setDraft] = useState<Draft>(keptDraft);
  const [axes, setAxes] = useState("");
  /** Several commands are meant to be one job, one after the other. */
  const [together, setTogether] = useState(false);
  const key = useRef(newKey());
  const source = useQuery({
    queryKey: ["job", like],
    queryFn: ({ signal }) => api.job(like ?? 0, signal),
    enabled: like !== undefined,
  }).data;
  // Once for each job: its later states must not overwrite what was typed meanwhile.
  const [filledFrom, setFilledFrom] = useState<number>();
  if (source && source.id !== filledFrom) {
    setFilledFrom(source.id);
    setDraft({ ...draftOf(source), ...(fix ? fixOf(source)?.change : {}) });
  }
  useEffect(() => {
    // Environment values may be secrets: they are not kept in the browser.
    localStorage.setItem(KEPT, JSON.stringify({ ...draft, env: "" }));
  }, [draft]);

  const pasted = useSettled(mayBeSeveral(draft.command) ? draft.command : "", 300);
  const parsed = useQuery({
    queryKey: ["parse", pasted],
    queryFn: ({ signal }) => api.parse(pasted, signal),
    enabled: pasted !== "",
    staleTime: Infinity,
    retry: false,
  }).data;
  const launches = pasted === draft.command ? (parsed?.jobs ?? []) : [];
  const several = launches.length > 1 && !together && axes.trim() === "";

  let spec: JobSpec | undefined;
  let runs: JobSpec[] = [];
  let wrong: string | undefined;
  try {
    if (draft.command.trim() !== "") spec = specOfDraft(draft);
    if (spec)
      runs = several
        ? launchSpecs(spec, launches)
        : ablationSpecs(spec, cells(axes), draft.name.trim() || "ablation");
  } catch (error) {
    wrong = error instanceof Error ? error.message : String(error);
    spec = undefined;
  }
  const settled = useSettled(spec === undefined ? "" : JSON.stringify(runs[0] ?? spec), 300);
  const preview = useQuery({
    queryKey: ["dry-run", settled],
    queryFn: ({ signal }) => api.dryRun(JSON.parse(settled) as JobSpec, signal),
    enabled: settled !== "",
    staleTime: 5_000,
    refetchInterval: 15_000,
    retry: false,
  });
  const submit = useMutation({
    mutationFn: async (): Promise<Job[]> => {
      if (!spec) return [];
      const headers = { "Idempotency-Key": key.current };
      if (runs.length === 0) return [await api.submit(spec, key.current)];
      return request<Job[]>("POST", "/jobs", { body: runs, headers });
    },
    onSuccess: (jobs) => {
      key.current = newKey();
      void client.invalidateQueries({ queryKey: ["jobs"] });
      const [first] = jobs;
      notify(jobs.length === 1 ? `Submitted job ${first?.id}.` : `Submitted ${plural(jobs.length, "job")}.`);
      localStorage.removeItem(KEPT);
      if (jobs.length === 1 && first)
        void navigate({ to: "/jobs/$jobId", params: { jobId: String(first.id) } });
      else if (first?.labels?.["ablation"])
        void navigate({ to: "/jobs", search: { label: `ablation=${first.labels["ablation"]}` } });
      else void navigate({ to: "/jobs", search: { user: first?.user ?? "" } });
    },
    // A changed form after a refusal is another request.
    onError: () => {
      key.current = newKey();
    },
  });
  const hours = preview.data && spec?.time_limit ? preview.data.gpus : undefined;

  return (
    <FieldLabels value={LABELS}>
      <PageHeader title={like === undefined ? "Submit a job" : `Submit a copy of job ${like}`} />
      <form
        className="grid gap-6 lg:grid-cols-[minmax(0,5fr)_minmax(0,4fr)]"
        onSubmit={(event) => {
          event.preventDefault();
          submit.mutate();
        }}
      >
        <SubmitForm
          draft={draft}
          axes={axes}
          runs={several ? 0 : runs.length}
          onChange={(change) => setDraft({ ...draft, ...change })}
          onAxes={setAxes}
          cluster={box?.source === "slurm"}
        />
        <div className="min-w-0 lg:sticky lg:top-16 lg:max-h-[calc(100dvh-5rem)] lg:self-start lg:-m-1 lg:overflow-y-auto lg:p-1">
          <SubmitPreview
            spec={spec}
            wrong={wrong}
            preview={preview.data}
            error={preview.error}
            pending={settled !== "" && preview.isPending}
            runs={runs.length}
            gpusEach={hours}
          >
            {launches.length > 1 && axes.trim() === "" && (
              <Launches launches={launches} together={together} onTogether={setTogether} />
            )}
            {submit.isError && (
              <div className="mb-3">
                <ErrorMessage error={submit.error} />
              </div>
            )}
            <div className="mb-5 flex gap-2">
              <Button type="submit" kind="primary" disabled={!spec || submit.isPending} className="flex-1">
                {submit.isPending
                  ? "Submitting…"
                  : runs.length > 0
                    ? `Submit ${plural(runs.length, "job")}`
                    : draft.hold
                      ? "Submit on hold"
                      : "Submit"}
              </Button>
              <Button
                onClick={() => {
                  setDraft(EMPTY);
                  setAxes("");
                }}
              >
                Clear
              </Button>
            </div>
          </SubmitPreview>
        </div>
      </form>
    </FieldLabels>
  );
}
