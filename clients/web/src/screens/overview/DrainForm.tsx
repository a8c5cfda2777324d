import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { ApiError } from "@/api/request";
import type { Gpu } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button } from "@/components/Button";
import { Field } from "@/components/Field";
import { ErrorMessage } from "@/components/Feedback";
import { Ago } from "@/components/Time";
import { localTime, momentOf } from "@/model/gpus/reservations";

type Verb = "drain" | "undrain";

/** Let no new job onto a GPU, say why and until when; change that; let jobs on again. */
export function DrainForm({ gpu }: { gpu: Gpu }) {
  const client = useQueryClient();
  const { draining = false } = gpu;
  const [reason, setReason] = useState(gpu.drain_reason ?? "");
  const [until, setUntil] = useState(gpu.drain_until ? localTime(Date.parse(gpu.drain_until)) : "");
  const change = useMutation({
    mutationFn: (verb: Verb) =>
      verb === "undrain"
        ? api.undrain(gpu.uuid)
        : api.drain(gpu.uuid, reason.trim() || null, momentOf(until) ?? null),
    onSuccess: (_, verb) => {
      notify(
        verb === "undrain" ? `GPU ${gpu.index} takes jobs again.` : `GPU ${gpu.index} takes no new job.`,
      );
      void client.invalidateQueries({ queryKey: ["box"] });
    },
  });
  const refusal = change.error instanceof ApiError ? change.error : undefined;
  const wrong = { reason: refusal?.of("reason"), until: refusal?.of("until") };
  return (
    <form
      className="border-t border-line pt-3"
      onSubmit={(event) => {
        event.preventDefault();
        change.mutate("drain");
      }}
    >
      <p className="mb-2 text-sm">
        {draining
          ? `Draining${gpu.drain_reason ? `: ${gpu.drain_reason}` : ""}. No new job starts on it`
          : "Drain: no new job may start on it. A job that runs on it now goes on to its end"}
        {draining && gpu.drain_until && (
          <>
            ; ends <Ago time={gpu.drain_until} />
          </>
        )}
        .
      </p>
      <div className="grid gap-3 sm:grid-cols-2">
        <Field label="Reason for draining" note="shown to everybody" error={wrong.reason}>
          {(input) => (
            <input
              {...input}
              placeholder="new fan on Thursday"
              maxLength={500}
              value={reason}
              onChange={(event) => setReason(event.target.value)}
              className="field"
            />
          )}
        </Field>
        <Field label="Until" note="empty: until somebody lets jobs on again" error={wrong.until}>
          {(input) => (
            <input
              {...input}
              type="datetime-local"
              value={until}
              onChange={(event) => setUntil(event.target.value)}
              className="field"
            />
          )}
        </Field>
      </div>
      <div className="mt-3 flex flex-wrap gap-2">
        <Button type="submit" disabled={change.isPending}>
          {draining ? "Change reason and end" : "Drain"}
        </Button>
        {draining && (
          <Button disabled={change.isPending} onClick={() => change.mutate("undrain")}>
            Let jobs on again
          </Button>
        )}
      </div>
      {change.isError && !wrong.reason && !wrong.until && (
        <div className="mt-2">
          <ErrorMessage error={change.error} />
        </div>
      )}
    </form>
  );
}
