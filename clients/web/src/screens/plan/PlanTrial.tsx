import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "@/api/endpoints";
import type { PlanTrial as Trial } from "@/api/endpoints";
import { useJob, useMe } from "@/api/queries";
import type { PlanBar } from "@/api/types";
import { Button } from "@/components/Button";
import { ErrorText } from "@/components/Feedback";
import { notify } from "@/components/Notifications";
import { useNow } from "@/components/Time";
import { wallClock } from "@/format/duration";
import { trialOf } from "@/model/plan/trial";

interface Props {
  trial: Trial;
  /** The job as the dry run places it; undefined where its start is not known. */
  bar: PlanBar | undefined;
  error: unknown;
  pending: boolean;
  onTry: (trial: Trial) => void;
  onClose: () => void;
}

/** Dry run of the plan: another number of GPUs or time limit of a waiting job, until it is confirmed. */
export function PlanTrial({ trial, bar, error, pending, onTry, onClose }: Props) {
  const client = useQueryClient();
  const me = useMe().data;
  const job = useJob(trial.job).data;
  const now = useNow(60_000);
  const [gpus, setGpus] = useState(trial.gpus === undefined ? "" : String(trial.gpus));
  const [limit, setLimit] = useState(trial.time_limit ?? "");
  // A bar that was dragged says so in the field.
  const [dragged, setDragged] = useState(trial.time_limit);
  if (trial.time_limit !== dragged) {
    setDragged(trial.time_limit);
    setLimit(trial.time_limit ?? "");
  }
  const mine = !me || me.admin || job?.user === me.user;
  const changes = trial.gpus !== undefined || trial.time_limit !== undefined;
  const apply = useMutation({
    mutationFn: () =>
      api.patch(trial.job, {
        ...(trial.gpus === undefined ? {} : { gpus: trial.gpus }),
        ...(trial.time_limit === undefined
          ? {}
          : { time_limit: trial.time_limit === "none" ? null : trial.time_limit }),
      }),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["plan"] });
      notify(`Job ${trial.job} was changed.`);
      onClose();
    },
  });
  return (
    <form
      aria-label="Dry run of the plan"
      data-trial
      className="panel mb-2 flex flex-wrap items-end gap-3 border-accent px-3 py-2 text-sm"
      onSubmit={(event) => {
        event.preventDefault();
        onTry(trialOf(trial.job, gpus, limit));
      }}
    >
      <p className="min-w-48 flex-1">
        <span className="font-medium">
          Dry run of job {trial.job}
          {job && `, ${job.name}`}.
        </span>{" "}
        {error ? (
          <span className="text-bad">
            <ErrorText error={error} fallback="The dry run failed." />
          </span>
        ) : pending ? (
          <span className="text-muted">Planning…</span>
        ) : (
          <span className="text-muted" aria-live="polite">
            {bar
              ? `It would start about ${wallClock(Date.parse(bar.starts_at), now)}`
              : "Its start is not known"}
            {changes ? "; nothing is changed yet." : "."}
          </span>
        )}
        {apply.isError && (
          <span className="block text-bad">
            <ErrorText error={apply.error} fallback="The job was not changed." />
          </span>
        )}
      </p>
      <label className="flex items-center gap-1.5">
        GPUs
        <input
          className="field w-20"
          type="number"
          min={1}
          max={1024}
          placeholder={job ? String(job.gpus) : ""}
          value={gpus}
          onChange={(event) => setGpus(event.target.value)}
        />
      </label>
      <label className="flex items-center gap-1.5">
        Time limit
        <input
          className="field w-24"
          placeholder={job?.time_limit ?? "none"}
          value={limit}
          onChange={(event) => setLimit(event.target.value)}
        />
      </label>
      <Button type="submit">Try</Button>
      {mine && (
        <Button
          kind="primary"
          disabled={!changes || apply.isPending || Boolean(error)}
          onClick={() => apply.mutate()}
        >
          Change the job
        </Button>
      )}
      <Button kind="quiet" onClick={onClose}>
        Discard
      </Button>
    </form>
  );
}
