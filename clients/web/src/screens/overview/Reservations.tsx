import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { useMe } from "@/api/queries";
import type { Gpu, Reservation } from "@/api/types";
import { notify } from "@/components/Notifications";
import { Button, buttonLook } from "@/components/Button";
import { ConfirmDialog } from "@/components/Dialog";
import { ErrorMessage } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { useNow } from "@/components/Time";
import { absoluteInZone, duration, wallClock } from "@/format/duration";
import { plural } from "@/format/units";
import { useActions } from "@/keys/useActions";
import { reservationsOf, whose } from "@/model/gpus/reservations";
import { named } from "@/model/gpus/topology";

/** List of reservations; admins add and remove them here. */
export function Reservations({ gpus }: { gpus: readonly Gpu[] }) {
  const me = useMe().data;
  const admin = me?.admin === true;
  const [leaving, setLeaving] = useState<Reservation | null>(null);
  const navigate = useNavigate({ from: "/" });
  const all = reservationsOf(gpus);
  useActions(
    admin
      ? [
          {
            label: "Reserve GPUs",
            run: () => void navigate({ search: { reserve: true }, resetScroll: false }),
          },
        ]
      : [],
  );
  if (all.length === 0 && !admin) return null;
  return (
    <Section
      title="Reservations"
      note={all.length === 0 ? "no GPUs are reserved" : ""}
      actions={
        admin && (
          <Link to="/" search={{ reserve: true }} resetScroll={false} className={buttonLook("plain", true)}>
            Reserve GPUs
          </Link>
        )
      }
    >
      {all.length > 0 && (
        <ul className="panel divide-y divide-line">
          {all.map((one) => (
            <li key={one.id} className="flex flex-wrap items-baseline gap-x-4 gap-y-1 px-3 py-2 text-sm">
              <span className="font-semibold tabular">{named(one.gpu_indices)}</span>
              <span>
                for <span className="font-medium">{whose(one)}</span>
              </span>
              <Window reservation={one} />
              {one.reason && <span className="min-w-0 wrap-anywhere text-muted">{one.reason}</span>}
              <span className="text-xs text-muted">by {one.made_by}</span>
              {admin && (
                <Button
                  small
                  className="ml-auto"
                  aria-label={`Remove the reservation of ${named(one.gpu_indices)} for ${whose(one)}`}
                  onClick={() => setLeaving(one)}
                >
                  {" "}
                  Remove{" "}
                </Button>
              )}
            </li>
          ))}
        </ul>
      )}
      {leaving && <RemoveDialog reservation={leaving} onClose={() => setLeaving(null)} />}
    </Section>
  );
}

/** Start and end of a reservation, and the time until the next of them. */
function Window({ reservation }: { reservation: Reservation }) {
  const now = useNow();
  const [from, to] = [Date.parse(reservation.starts_at), Date.parse(reservation.ends_at)];
  const edge = reservation.active ? to : from;
  return (
    <span className="tabular" title={`${absoluteInZone(from)} to ${absoluteInZone(to)}`}>
      {wallClock(from, now)} to {wallClock(to, now)}{" "}
      <span className={reservation.active ? "text-violet" : "text-muted"}>
        {reservation.active ? "active, ends in" : "starts in"} {duration((edge - now) / 1000)}
      </span>
    </span>
  );
}

function RemoveDialog({ reservation, onClose }: { reservation: Reservation; onClose: () => void }) {
  const client = useQueryClient();
  const gpus = plural((reservation.gpu_indices ?? []).length, "GPU");
  const remove = useMutation({
    mutationFn: () => api.unreserve(reservation.id),
    onSuccess: () => {
      notify(`Removed the reservation of ${gpus} for ${whose(reservation)}.`);
      void client.invalidateQueries({ queryKey: ["box"] });
      onClose();
    },
  });
  return (
    <ConfirmDialog
      title={`Remove the reservation of ${named(reservation.gpu_indices)}?`}
      consequence={`Everyone can use ${gpus} again at once. Running jobs of ${whose(reservation)} continue.`}
      action="Remove"
      danger
      busy={remove.isPending}
      error={remove.isError && <ErrorMessage error={remove.error} />}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    />
  );
}
