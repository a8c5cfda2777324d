/** The berth plan as rows of GPUs: what is drawn where, and in words. */
import type { BoxPlan, PlanBar } from "@/api/types";
import { duration, wallClock } from "@/format/duration";
import { named } from "@/model/gpus/topology";

export interface Piece {
  bar: PlanBar;
  /** Begin and end as parts of the whole axis, 0 to 1. */
  from: number;
  to: number;
  /** An end that nobody knows. */
  open: boolean;
  /** Where the start should be by nine times of ten, and where the limit ends it. */
  startsBy: number | undefined;
  endsBy: number | undefined;
}

export interface Wall {
  kind: "reserved" | "drained" | "blocked";
  from: number;
  to: number;
  text: string;
}

export interface Row {
  uuid: string;
  index: number;
  pieces: Piece[];
  walls: Wall[];
  utilization: readonly (number | null)[];
}

/** Place of a moment on the plan's axis: 0 its begin, 1 its end, never outside. */
export function placeOf(plan: Pick<BoxPlan, "starts_at" | "ends_at">): (time: string | number) => number {
  const [begin, end] = [Date.parse(plan.starts_at), Date.parse(plan.ends_at)];
  return (time) => {
    const at = typeof time === "number" ? time : Date.parse(time);
    return Math.min(1, Math.max(0, (at - begin) / (end - begin)));
  };
}

/** A row for each GPU, in index order. */
export function rowsOf(plan: BoxPlan): Row[] {
  const place = placeOf(plan);
  const now = Date.parse(plan.now);
  return plan.gpus.map((gpu) => ({
    uuid: gpu.uuid,
    index: gpu.index,
    utilization: gpu.utilization_percent ?? [],
    pieces: plan.bars.flatMap((bar) => {
      if (!bar.gpu_indices.includes(gpu.index)) return [];
      const optional = (time: string | null | undefined) => (time == null ? undefined : place(time));
      return [
        {
          bar,
          from: place(bar.starts_at),
          to: bar.ends_at == null ? 1 : place(bar.ends_at),
          open: bar.ends_at == null,
          startsBy: optional(bar.starts_by),
          endsBy: optional(bar.ends_by),
        },
      ];
    }),
    walls: [
      ...(plan.reservations ?? [])
        .filter((one) => one.gpu_indices.includes(gpu.index))
        .map((one) => ({
          kind: "reserved" as const,
          from: place(one.starts_at),
          to: place(one.ends_at),
          text: `reserved for ${[...(one.users ?? []), ...(one.groups ?? [])].join(", ")} from ${wallClock(Date.parse(one.starts_at), now)} to ${wallClock(Date.parse(one.ends_at), now)}${one.reason ? `: ${one.reason}` : ""}`,
        })),
      ...(gpu.draining
        ? [
            {
              kind: "drained" as const,
              from: place(plan.now),
              to: gpu.drain_until == null ? 1 : place(gpu.drain_until),
              text: `drained${gpu.drain_until == null ? "" : ` until ${wallClock(Date.parse(gpu.drain_until), now)}`}`,
            },
          ]
        : []),
      ...(gpu.blocked == null
        ? []
        : [{ kind: "blocked" as const, from: place(plan.now), to: 1, text: gpu.blocked }]),
    ],
  }));
}

/** One bar in words, for a title, a screen reader and the table. */
export function barText(bar: PlanBar, now: number): string {
  const clock = (time: string) => wallClock(Date.parse(time), now);
  const on = bar.gpu_indices.length === 0 ? "no GPU" : named(bar.gpu_indices);
  const who = `Job ${bar.job_id}, ${bar.name}, ${bar.user}, ${on}${bar.share ? " (a share)" : ""}`;
  if (bar.kind === "past")
    return `${who}: ${clock(bar.starts_at)} to ${bar.ends_at ? clock(bar.ends_at) : "?"}, ${duration((Date.parse(bar.ends_at ?? bar.starts_at) - Date.parse(bar.starts_at)) / 1000)}`;
  const end =
    (bar.ends_at ? `, until about ${clock(bar.ends_at)}` : ", end unknown") +
    (bar.ends_by ? `, limit ${clock(bar.ends_by)}` : "");
  if (bar.kind === "running") return `${who}: runs since ${clock(bar.starts_at)}${end}`;
  const by =
    bar.starts_by && bar.starts_by !== bar.starts_at ? ` (by ${clock(bar.starts_by)} nine times of ten)` : "";
  return `${who}: expected about ${clock(bar.starts_at)}${by}${end}`;
}

/** The utilisation as the outline of an area in a box of 0 to 1 in both directions, y down. */
export function areaOf(utilization: readonly (number | null)[], from: number, to: number): string {
  const step = (to - from) / Math.max(1, utilization.length);
  let path = "";
  let open = false;
  utilization.forEach((value, i) => {
    const x = from + i * step;
    if (value === null) {
      if (open) path += `V1Z`;
      open = false;
      return;
    }
    const y = (1 - Math.min(100, Math.max(0, value)) / 100).toFixed(3);
    path += open ? `H${x.toFixed(4)}V${y}` : `M${x.toFixed(4)} 1V${y}`;
    path += `H${(x + step).toFixed(4)}`;
    open = true;
  });
  return open ? `${path}V1Z` : path;
}
