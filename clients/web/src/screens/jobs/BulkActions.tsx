import { Link } from "@tanstack/react-router";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { ApiError } from "@/api/request";
import type { Job } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button, buttonLook } from "@/components/Button";
import { ConfirmDialog } from "@/components/Dialog";
import { ErrorMessage } from "@/components/Feedback";
import { plural } from "@/format/units";
import { verbsFor } from "@/model/jobs/job";
import type { Verb } from "@/model/jobs/job";
import { plainText } from "@/model/message";

const VERBS: readonly Verb[] = ["cancel", "hold", "release", "retry"];
const NAMES: Record<Verb, string> = { cancel: "Cancel", hold: "Hold", release: "Release", retry: "Retry" };
const DONE: Record<Verb, string> = {
  cancel: "Cancelled",
  hold: "Held",
  release: "Released",
  retry: "Queued again:",
};

/** Toolbar of actions on the selected jobs. Jobs whose state forbids an action are skipped. */
export function BulkActions({ jobs, onDone }: { jobs: readonly Job[]; onDone: () => void }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<Verb | null>(null);
  const targets = asked ? jobs.filter((job) => verbsFor(job.state).includes(asked)) : [];
  const act = useMutation({
    mutationFn: async (verb: Verb) => {
      const results = await Promise.allSettled(targets.map((job) => api.act(job.id, verb)));
      const failed = results.filter((r) => r.status === "rejected");
      if (failed[0]) {
        const first = failed[0].reason as Error;
        const refusal = plainText(first instanceof ApiError ? first.parts : [], first.message);
        throw new Error(`${failed.length} of ${plural(results.length, "job")} refused: ${refusal}`);
      }
      return results.length;
    },
    onSuccess: (done, verb) => {
      notify(`${DONE[verb]} ${plural(done, "job")}.`);
      setAsked(null);
      onDone();
    },
    onSettled: () => void client.invalidateQueries({ queryKey: ["jobs"] }),
  });
  if (jobs.length === 0) return null;
  const running = targets.filter((job) => job.state === "running" || job.state === "starting").length;
  return (
    <div
      role="toolbar"
      aria-label="Selected jobs"
      className="panel sticky top-12 z-20 mb-2 flex flex-wrap items-center gap-2 px-3 py-2"
    >
      <span className="text-sm">{plural(jobs.length, "job")} selected</span>
      {VERBS.map((verb) => (
        <Button
          key={verb}
          small
          kind={verb === "cancel" ? "danger" : "plain"}
          disabled={!jobs.some((job) => verbsFor(job.state).includes(verb))}
          onClick={() => {
            act.reset();
            setAsked(verb);
          }}
        >
          {NAMES[verb]}
        </Button>
      ))}
      {jobs.length > 1 && (
        <Link
          to="/compare"
          search={{ jobs: jobs.map((job) => job.id).join(",") }}
          className={buttonLook("plain", true)}
        >
          Compare
        </Link>
      )}
      <Button small kind="quiet" onClick={onDone}>
        Clear
      </Button>
      {asked && (
        <ConfirmDialog
          title={`${NAMES[asked]} ${plural(targets.length, "job")}?`}
          consequence={
            <>
              {targets
                .map((job) => `${job.id} ${job.name}`)
                .slice(0, 8)
                .join(", ")}
              {targets.length > 8 && ` and ${targets.length - 8} more`}.
              {asked === "cancel" &&
                running > 0 &&
                ` ${plural(running, "job is", "jobs are")} running: work since the last checkpoint is lost.`}
            </>
          }
          action={`${NAMES[asked]} ${plural(targets.length, "job")}`}
          danger={asked === "cancel"}
          busy={act.isPending}
          error={act.isError && <ErrorMessage error={act.error} />}
          onConfirm={() => act.mutate(asked)}
          onClose={() => setAsked(null)}
        />
      )}
    </div>
  );
}
