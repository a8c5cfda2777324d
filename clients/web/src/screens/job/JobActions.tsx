import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { useMe } from "@/api/queries";
import type { Job } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button } from "@/components/Button";
import { ConfirmDialog, Dialog } from "@/components/Dialog";
import { ErrorMessage } from "@/components/Feedback";
import { useNow } from "@/components/Time";
import { useActions } from "@/keys/useActions";
import { PENDING_STATES, consequence, verbsFor } from "@/model/jobs/job";
import type { Verb } from "@/model/jobs/job";

const NAMES: Record<Verb, string> = { cancel: "Cancel", hold: "Hold", release: "Release", retry: "Retry" };

/** Buttons for what the job's state allows, each confirmed with its consequence. */
export function JobActions({ job }: { job: Job }) {
  const client = useQueryClient();
  const me = useMe().data;
  const [asked, setAsked] = useState<Verb | null>(null);
  const [changing, setChanging] = useState(false);
  const now = useNow();
  const mine = !me || me.admin || me.user === job.user;
  const act = useMutation({
    mutationFn: (verb: Verb) => api.act(job.id, verb),
    onSuccess: (next) => {
      client.setQueryData(["job", job.id], next);
      void client.invalidateQueries({ queryKey: ["jobs"] });
      notify(`Job ${job.id} is now ${next.state}.`);
      setAsked(null);
    },
  });
  const ask = (verb: Verb) => {
    act.reset();
    setAsked(verb);
  };
  const verbs = mine ? verbsFor(job.state) : [];
  useActions(verbs.map((verb) => ({ label: `${NAMES[verb]} this job`, run: () => ask(verb) })));
  if (!mine) return <span className="text-xs text-muted">only {job.user} and admins can change it</span>;
  return (
    <>
      {PENDING_STATES.has(job.state) && (
        <Button small onClick={() => setChanging(true)}>
          Change
        </Button>
      )}
      {verbs.map((verb) => (
        <Button key={verb} small kind={verb === "cancel" ? "danger" : "plain"} onClick={() => ask(verb)}>
          {NAMES[verb]}
        </Button>
      ))}
      {asked && (
        <ConfirmDialog
          title={`${NAMES[asked]} job ${job.id}, ${job.name}?`}
          consequence={consequence(asked, job, now)}
          action={`${NAMES[asked]} job ${job.id}`}
          danger={asked === "cancel"}
          busy={act.isPending}
          error={act.isError && <ErrorMessage error={act.error} />}
          onConfirm={() => act.mutate(asked)}
          onClose={() => setAsked(null)}
        />
      )}
      {changing && <ChangeDialog job={job} onClose={() => setChanging(false)} />}
    </>
  );
}

function ChangeDialog({ job, onClose }: { job: Job; onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState(job.name);
  const [priority, setPriority] = useState(String(job.priority));
  const [limit, setLimit] = useState(job.time_limit ?? "");
  const change = useMutation({
    mutationFn: () =>
      api.patch(job.id, {
        name,
        priority: Number(priority),
        time_limit: limit.trim() === "" ? null : limit.trim(),
      }),
    onSuccess: (next) => {
      client.setQueryData(["job", job.id], next);
      void client.invalidateQueries({ queryKey: ["jobs"] });
      notify(`Job ${job.id} was changed.`);
      onClose();
    },
  });
  return (
    <Dialog title={`Change job ${job.id}`} onClose={onClose}>
      <form
        className="flex flex-col gap-3 text-sm"
        onSubmit={(event) => {
          event.preventDefault();
          change.mutate();
        }}
      >
        <label className="flex flex-col gap-1">
          Name
          <input
            className="field"
            required
            maxLength={200}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </label>
        <label className="flex flex-col gap-1">
          Priority (−1000 to 1000, higher starts first)
          <input
            className="field"
            type="number"
            min={-1000}
            max={1000}
            value={priority}
            onChange={(event) => setPriority(event.target.value)}
          />
        </label>
        <label className="flex flex-col gap-1">
          Time limit (such as 12h or 1h30m; empty for none; a shorter limit can start sooner)
          <input className="field" value={limit} onChange={(event) => setLimit(event.target.value)} />
        </label>
        {change.isError && <ErrorMessage error={change.error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" disabled={change.isPending}>
            Change job {job.id}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
