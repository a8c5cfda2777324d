/** Icon, colours and label of each kind of holder on the map. */
import {
  Ban,
  CalendarClock,
  ChartPie,
  CircleDashed,
  CircleDot,
  CircleHelp,
  Ghost,
  OctagonAlert,
  UserX,
} from "lucide-react";
import type { LucideIcon } from "lucide-react";
import type { Gpu, HolderKind } from "@/api/types";

interface Look {
  word: string;
  icon: LucideIcon;
  text: string;
  border: string;
  ground: string;
}

const LOOKS: Record<HolderKind, Look> = {
  free: {
    word: "free",
    icon: CircleDashed,
    text: "text-good",
    border: "border-line border-dashed",
    ground: "bg-panel",
  },
  job: { word: "held", icon: CircleDot, text: "text-accent", border: "border-line", ground: "bg-panel" },
  outsider: {
    word: "external process",
    icon: UserX,
    text: "text-warn",
    border: "border-warn",
    ground: "bg-warn-soft",
  },
  leftover: {
    word: "leftover",
    icon: Ghost,
    text: "text-warn",
    border: "border-warn border-dotted",
    ground: "bg-warn-soft",
  },
  unhealthy: {
    word: "unhealthy",
    icon: OctagonAlert,
    text: "text-bad",
    border: "border-bad",
    ground: "bg-bad-soft",
  },
  unknown: {
    word: "unknown",
    icon: CircleHelp,
    text: "text-muted",
    border: "border-strong-line border-dotted",
    ground: "bg-panel",
  },
};

const DRAINING: Look = {
  word: "draining",
  icon: Ban,
  text: "text-violet",
  border: "border-violet",
  ground: "bg-violet-soft",
};

const RESERVED: Look = { ...DRAINING, word: "reserved", icon: CalendarClock };

/** A free GPU that drains or is reserved is not free for everyone, so it does not look free. */
export function lookOf(gpu: Gpu): Look {
  const look = LOOKS[gpu.holder.kind];
  if (gpu.memory_leased_bytes != null) return { ...look, word: "shared", icon: ChartPie };
  if (gpu.holder.kind !== "free") return look;
  if (gpu.draining) return DRAINING;
  return (gpu.reservations ?? []).some((one) => one.active) ? RESERVED : look;
}
