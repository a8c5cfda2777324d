/** Messages between the stream's owner (a SharedWorker, or the page itself) and the pages. */
import type { BerthEvent, Box } from "@/api/types";

export type Phase = "connecting" | "live" | "down" | "paused";

export type FromHub =
  | { type: "phase"; phase: Phase; /** ms since the epoch: when this phase began. */ since: number }
  /** Something may have been missed: everything shown must be fetched again. */
  | { type: "refresh" }
  | { type: "events"; events: BerthEvent[] }
  | { type: "box"; box: Box };

export type ToHub =
  { type: "visible" } | { type: "hidden" } | { type: "leaving" } | { type: "retry" } | SeenMessage;

/** The oldest state that this page shows: the newest event when its first answer was made. */
export interface SeenMessage {
  type: "seen";
  id: number;
}
