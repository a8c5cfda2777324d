import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { ApiError } from "@/api/request";
import type { Gpu } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button } from "@/components/Button";
import { Dialog } from "@/components/Dialog";
import { Field, FieldError } from "@/components/Field";
import { ErrorMessage } from "@/components/Feedback";
import { FieldLabels } from "@/components/Message";
import { plural } from "@/format/units";
import { localTime, momentOf, names, whose } from "@/model/gpus/reservations";

const LABELS = {
  gpus: "GPUs",
  users: "For users",
  groups: "For groups",
  starts_at: "From",
  ends_at: "To",
  reason: "Reason",
} as const;

/** Form to reserve GPUs. What the server refuses is shown at its field. */
export function ReserveDialog({
  gpus,
  picked,
  onClose,
}: {
  gpus: readonly Gpu[];
  /** Index of the GPU that is selected at first. */
  picked?: number | undefined;
  onClose: () => void;
}) {
  const client = useQueryClient();
  const [selected, setSelected] = useState<ReadonlySet<number>>(
    new Set(picked === undefined ? [] : [picked]),
  );
  const [users, setUsers] = useState("");
  const [groups, setGroups] = useState("");
  const [from, setFrom] = useState("");
  const [to, setTo] = useState(() => localTime(Date.now() + 24 * 3_600_000));
  const [reason, setReason] = useState("");
  const reserve = useMutation({
    mutationFn: () => {
      const starts_at = momentOf(from);
      return api.reserve({
        gpus: gpus.filter((gpu) => selected.has(gpu.index)).map((gpu) => gpu.uuid),
        users: names(users),
        groups: names(groups),
        ...(starts_at === undefined ? {} : { starts_at }),
        ends_at: momentOf(to) ?? "",
        reason: reason.trim(),
      });
    },
    onSuccess: (made) => {
      notify(`Reserved ${plural(made.gpu_indices.length, "GPU")} for ${whose(made)}.`);
      void client.invalidateQueries({ queryKey: ["box"] });
      onClose();
    },
  });
  const refusal = reserve.error instanceof ApiError ? reserve.error : undefined;
  const wrong = (name: keyof typeof LABELS) => refusal?.of(name);
  const badGpus = wrong("gpus");
  const toggle = (index: number) => {
    const next = new Set(selected);
    if (!next.delete(index)) next.add(index);
    setSelected(next);
  };
  return (
    <Dialog title="Reserve GPUs" onClose={onClose}>
      <FieldLabels value={LABELS}>
        <form
          noValidate
          className="flex flex-col gap-3"
          onSubmit={(event) => {
            event.preventDefault();
            reserve.mutate();
          }}
        >
          <p className="text-sm text-muted">
            During the reservation, only jobs of these users and groups start on the GPUs. Running jobs
            continue. Until then, other jobs start there only if their time limit ends in time.
          </p>
          <fieldset>
            <legend className="mb-1 text-sm font-medium">{LABELS.gpus}</legend>
            <div className="flex flex-wrap gap-1.5">
              {gpus.map((gpu, i) => (
                <label
                  key={gpu.uuid}
                  className="flex min-h-8 min-w-12 items-center justify-center gap-1.5 rounded-md border border-strong-line px-2 text-sm tabular has-checked:border-accent has-checked:bg-accent-soft has-checked:text-accent"
                >
                  <input
                    type="checkbox"
                    data-focus={i === 0 || undefined}
                    className="size-4"
                    aria-label={`GPU ${gpu.index}`}
                    checked={selected.has(gpu.index)}
                    onChange={() => toggle(gpu.index)}
                  />
                  {gpu.index}
                </label>
              ))}
              <Button
                small
                kind="quiet"
                onClick={() =>
                  setSelected(new Set(selected.size === gpus.length ? [] : gpus.map((g) => g.index)))
                }
              >
                {selected.size === gpus.length ? "None" : "All"}
              </Button>
            </div>
            {badGpus && <FieldError error={badGpus} />}
          </fieldset>
          <div className="grid gap-3 sm:grid-cols-2">
            <Field label={LABELS.users} note="names, separated by commas" error={wrong("users")}>
              {(input) => (
                <input
                  {...input}
                  className="field"
                  placeholder="ada"
                  autoComplete="off"
                  value={users}
                  onChange={(event) => setUsers(event.target.value)}
                />
              )}
            </Field>
            <Field label={LABELS.groups} note="Unix groups on the box" error={wrong("groups")}>
              {(input) => (
                <input
                  {...input}
                  className="field"
                  placeholder="vision"
                  autoComplete="off"
                  value={groups}
                  onChange={(event) => setGroups(event.target.value)}
                />
              )}
            </Field>
            <Field label={LABELS.starts_at} note="empty: now" error={wrong("starts_at")}>
              {(input) => (
                <input
                  {...input}
                  type="datetime-local"
                  className="field"
                  value={from}
                  onChange={(event) => setFrom(event.target.value)}
                />
              )}
            </Field>
            <Field label={LABELS.ends_at} note="your time zone" error={wrong("ends_at")}>
              {(input) => (
                <input
                  {...input}
                  type="datetime-local"
                  className="field"
                  value={to}
                  onChange={(event) => setTo(event.target.value)}
                />
              )}
            </Field>
          </div>
          <Field
            label={LABELS.reason}
            note="shown to everyone whose jobs wait for it"
            error={wrong("reason")}
          >
            {(input) => (
              <input
                {...input}
                className="field"
                placeholder="camera-ready runs"
                maxLength={500}
                value={reason}
                onChange={(event) => setReason(event.target.value)}
              />
            )}
          </Field>
          {reserve.isError && !(Object.keys(LABELS) as (keyof typeof LABELS)[]).some(wrong) && (
            <ErrorMessage error={reserve.error} />
          )}
          <div className="flex justify-end gap-2">
            <Button onClick={onClose}>Cancel</Button>
            <Button kind="primary" type="submit" disabled={reserve.isPending}>
              Reserve {selected.size > 0 ? plural(selected.size, "GPU") : "GPUs"}
            </Button>
          </div>
        </form>
      </FieldLabels>
    </Dialog>
  );
}
