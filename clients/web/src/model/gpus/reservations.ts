/** Reservations of GPUs: list, owners, and times of their form. */
import type { Gpu, Reservation } from "@/api/types";

/** Every reservation of the box's GPUs, soonest first. */
export function reservationsOf(gpus: readonly Gpu[]): Reservation[] {
  const all = new Map(gpus.flatMap((gpu) => gpu.reservations ?? []).map((one) => [one.id, one]));
  return [...all.values()].sort((a, b) => Date.parse(a.starts_at) - Date.parse(b.starts_at) || a.id - b.id);
}

/** "ada, bob, group vision". */
export function whose(reservation: Reservation): string {
  const groups = (reservation.groups ?? []).map((group) => `group ${group}`);
  return [...(reservation.users ?? []), ...groups].join(", ") || "no user";
}

/** The names in a field, however they are separated. */
export function names(text: string): string[] {
  return text.split(/[\s,]+/).filter(Boolean);
}

/** A time as a datetime-local field has it, in the browser's own zone. */
export function localTime(at: number): string {
  const date = new Date(at - new Date(at).getTimezoneOffset() * 60_000);
  return date.toISOString().slice(0, 16);
}

/** The moment that a datetime-local field holds, for the server; undefined when it is empty. */
export function momentOf(field: string): string | undefined {
  return field === "" ? undefined : new Date(field).toISOString();
}
