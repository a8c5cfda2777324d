import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { useMe } from "@/api/queries";
import type { Job, WhatIfOption } from "@/api/types";
import { Button, buttonLook } from "@/components/Button";
import { ConfirmDialog } from "@/components/Dialog";
import { ErrorMessage, Skeleton } from "@/components/Feedback";
import { notify } from "@/components/Notifications";
import { WhatIfTable } from "@/components/WhatIfTable";
import { patchOf, variantText } from "@/model/jobs/whatif";

/** What-if of a waiting job: when it would start with one thing changed, and the change itself. */
export function JobWhatIf({ job, open = false }: { job: Pick<Job, "id" | "name" | "user">; open?: boolean }) {
  const [shown, setShown] = useState(open);
  const [chosen, setChosen] = useState<WhatIfOption | null>(null);
  const me = useMe().data;
  const mine = !me || me.admin || me.user === job.user;
  const found = useQuery({
    queryKey: ["what-if", job.id],
    queryFn: ({ signal }) => api.whatIfOf(job.id, signal),
    enabled: shown,
    refetchInterval: 60_000,
    retry: false,
  });
  const use = (option: WhatIfOption) =>
    patchOf(option) ? (
      <Button small onClick={() => setChosen(option)} aria-label={`Change the job to ${variantText(option)}`}>
        Change
      </Button>
    ) : (
      <Link to="/submit" search={{ like: job.id }} className={buttonLook("plain", true)}>
        Submit a copy
      </Link>
    );
  return (
    <details
      className="mt-3"
      open={shown}
      onToggle={(event) => setShown((event.target as HTMLDetailsElement).open)}
    >
      <summary className="mb-2 min-h-6 text-sm font-medium">What if it asked for something else?</summary>
      {found.isError ? (
        <ErrorMessage error={found.error} retry={() => void found.refetch()} />
      ) : found.data ? (
        <WhatIfTable options={found.data.options} {...(mine ? { action: use } : {})} />
      ) : (
        shown && <Skeleton rows={3} />
      )}
      {chosen && <Change job={job} option={chosen} onClose={() => setChosen(null)} />}
    </details>
  );
}

function Change({
  job,
  option,
  onClose,
}: {
  job: Pick<Job, "id" | "name">;
  option: WhatIfOption;
  onClose: () => void;
}) {
  const client = useQueryClient();
  const text = variantText(option);
  const change = useMutation({
    mutationFn: () => api.patch(job.id, patchOf(option) ?? {}),
    onSuccess: (next) => {
      client.setQueryData(["job", job.id], next);
      void client.invalidateQueries({ queryKey: ["what-if"] });
      notify(`Job ${job.id} was changed: ${text}.`);
      onClose();
    },
  });
  return (
    <ConfirmDialog
      title={`Change job ${job.id} to ${text}?`}
      consequence={
        option.varies === "gpus"
          ? `${job.name} starts with that many ranks, so its global batch size may change.`
          : option.varies === "preemptible" && option.preemptible
            ? "A job of higher priority may stop it; it is then queued again."
            : option.varies === "time_limit" && option.time_limit != null
              ? `It is stopped after ${option.time_limit}; what it has not saved by then is lost.`
              : "It stays in the queue, ordered by the same rules."
      }
      action={`Change job ${job.id}`}
      busy={change.isPending}
      error={change.isError && <ErrorMessage error={change.error} />}
      onConfirm={() => change.mutate()}
      onClose={onClose}
    />
  );
}
