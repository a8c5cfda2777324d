import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { ApiError } from "@/api/request";
import type { Gpu } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button } from "@/components/Button";
import { Field } from "@/components/Field";
import { ErrorMessage } from "@/components/Feedback";
import { FieldLabels } from "@/components/Message";
import { Ago } from "@/components/Time";
import { localTime, momentOf } from "@/model/gpus/reservations";

const LABELS = { reason: "Reason for draining", until: "Until" } as const;

type Verb = "drain" | "undrain";

/** Form to drain a GPU with reason and end, to change both, and to undrain it. */
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
        verb === "undrain" ? `GPU ${gpu.index} accepts jobs again.` : `GPU ${gpu.index} accepts no new jobs.`,
      );
      void client.invalidateQueries({ queryKey: ["box"] });
    },
  });
  const refusal = change.error instanceof ApiError ? change.error : undefined;
  const wrong = { reason: refusal?.of("reason"), until: refusal?.of("until") };
  return (
    <FieldLabels value={LABELS}>
      <form
        className="border-t border-line pt-3"
        onSubmit={(event) => {
          event.preventDefault();
          change.mutate("drain");
        }}
      >
        <p className="mb-2 text-sm">
          {draining
            ? `Draining${gpu.drain_reason ? `: ${gpu.drain_reason}` : ""}. No new jobs start on it`
            : "Drain this GPU: no new jobs start on it, and a running job finishes"}
          {draining && gpu.drain_until && (
            <>
              ; ends <Ago time={gpu.drain_until} />
            </>
          )}
          .
        </p>
        <div className="grid gap-3 sm:grid-cols-2">
          <Field label={LABELS.reason} note="shown to everyone" error={wrong.reason}>
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
          <Field label={LABELS.until} note="empty: until you stop draining" error={wrong.until}>
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
            {draining ? "Update" : "Drain"}
          </Button>
          {draining && (
            <Button disabled={change.isPending} onClick={() => change.mutate("undrain")}>
              Stop draining
            </Button>
          )}
        </div>
        {change.isError && !wrong.reason && !wrong.until && (
          <div className="mt-2">
            <ErrorMessage error={change.error} />
          </div>
        )}
      </form>
    </FieldLabels>
  );
}
