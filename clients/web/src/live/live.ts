/** Live updates: keep the query cache in step with the server, and report the connection's state. */
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import type { BerthEvent } from "@/api/types";
import { browserEnvironment, Hub } from "./hub";
import { keysTouchedBy, paceOf } from "./invalidate";
import type { FromHub, Phase, ToHub } from "./messages";
import { onSeen } from "./seen";

export interface LiveState {
  phase: Phase;
  /** ms since the epoch when the phase began: numbers are stale since then when it is "down". */
  since: number;
  /** The map comes with the stream; without it the pages ask for it. */
  pushesBox: boolean;
}

let state: LiveState = { phase: "connecting", since: Date.now(), pushesBox: false };
const watchers = new Set<() => void>();
const eventWatchers = new Set<(events: BerthEvent[]) => void>();
let send: (message: ToHub) => void = () => {};

export function useLive(): LiveState {
  return useSyncExternalStore(watch, () => state);
}

export function liveState(): LiveState {
  return state;
}

export function retryNow(): void {
  send({ type: "retry" });
}

/** Subscribe to events as they happen; returns the unsubscribe function. */
export function onEvents(watcher: (events: BerthEvent[]) => void): () => void {
  eventWatchers.add(watcher);
  return () => eventWatchers.delete(watcher);
}

/** Subscribe to the connection being (re)established; returns the unsubscribe function. */
export function onLive(run: () => void): () => void {
  let before = state.phase;
  return watch(() => {
    if (state.phase === "live" && before !== "live") run();
    before = state.phase;
  });
}

/** Start the stream for this page. Called once, at start. */
export function startLive(client: QueryClient): void {
  const invalidator = new Invalidator(client);
  send = connectHub((message) => {
    if (message.type === "phase") set({ ...state, phase: message.phase, since: message.since });
    else if (message.type === "refresh") void client.invalidateQueries();
    else if (message.type === "box") {
      if (!state.pushesBox) set({ ...state, pushesBox: true });
      client.setQueryData(["box"], message.box);
    } else {
      invalidator.add(message.events);
      for (const watcher of eventWatchers) watcher(message.events);
    }
  });
  const report = () => send({ type: document.visibilityState === "hidden" ? "hidden" : "visible" });
  document.addEventListener("visibilitychange", report);
  addEventListener("pagehide", () => send({ type: "leaving" }));
  addEventListener("pageshow", report);
  addEventListener("online", () => send({ type: "retry" }));
  send({ type: "visible" });
  onSeen((id) => send({ type: "seen", id }));
}

function connectHub(receive: (message: FromHub) => void): (message: ToHub) => void {
  if (typeof SharedWorker === "function") {
    const worker = new SharedWorker(new URL("./stream.worker.ts", import.meta.url), {
      type: "module",
      name: "berth-stream",
    });
    worker.port.onmessage = ({ data }: MessageEvent<FromHub>) => receive(data);
    worker.port.start();
    return (message) => worker.port.postMessage(message);
  }
  const hub = new Hub(browserEnvironment);
  return (message) => {
    if (message.type === "visible") hub.show(receive);
    else if (message.type === "hidden") hub.hide(receive);
    else if (message.type === "leaving") hub.leave(receive);
    else if (message.type === "seen") hub.seen(receive, message.id);
    else hub.retry();
  };
}

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

function set(next: LiveState): void {
  state = next;
  for (const watcher of watchers) watcher();
}

/** Turns events into refetches: of each key the first at once, then at most one per interval. */
class Invalidator {
  private readonly gates = new Map<string, Gate>();

  constructor(private readonly client: QueryClient) {}

  add(events: BerthEvent[]): void {
    for (const queryKey of keysTouchedBy(events, state.pushesBox)) {
      const name = queryKey.join("/");
      let gate = this.gates.get(name);
      if (!gate) {
        gate = new Gate(() => void this.client.invalidateQueries({ queryKey }), paceOf(queryKey));
        this.gates.set(name, gate);
      }
      gate.knock();
    }
  }
}

/** Lets the first call through at once and gathers those that follow within an interval. */
class Gate {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private last = 0;

  constructor(
    private readonly open: () => void,
    private readonly intervalMs: number,
  ) {}

  knock(): void {
    if (this.timer !== undefined) return;
    // 20 ms gathers the events of one transaction; the interval holds back a storm.
    const wait = Math.max(20, this.last + this.intervalMs - Date.now());
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.last = Date.now();
      this.open();
    }, wait);
  }
}
