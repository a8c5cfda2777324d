/**
 * Hub: owns this browser's one event stream and passes what arrives to every page.
 *
 * Browsers allow about six connections per host over HTTP/1.1, across all tabs: a stream per
 * tab would freeze the seventh. So a SharedWorker holds one hub for all of them.
 */
import type { BerthEvent, Box } from "@/api/types";
import type { FromHub, Phase } from "./messages";

/** The part of EventSource that is used here; tests pass their own. */
export interface Source {
  onopen: (() => void) | null;
  onerror: (() => void) | null;
  addEventListener(name: string, listener: (event: { data: string; lastEventId: string }) => void): void;
  close(): void;
}

export interface Environment {
  open(url: string): Source;
  now(): number;
  /** Call back after `ms`; returns what cancels it. */
  after(ms: number, run: () => void): () => void;
}

type Listener = (message: FromHub) => void;

interface Greeting {
  instance?: string;
  last_event_id?: number;
}

interface Page {
  visible: boolean;
  /** Event after which it gets every one; undefined until the stream has said where it begins. */
  joined: number | undefined;
  /** The newest event when the first answer it shows was made. */
  shows: number | undefined;
}

const RETRY_MS = [300, 600, 1_000, 2_000, 3_000];
/** The server pings every 5 s once it has pinged at all; silence beyond this is a dead line. */
const SILENCE_MS = 13_000;
const PAUSE_MS = 60_000;

export class Hub {
  private phase: Phase = "connecting";
  private since: number;
  private source: Source | null = null;
  private lastId = "";
  private instance = "";
  private box: Box | null = null;
  private failures = 0;
  private broken = false;
  private cancelRetry = () => {};
  private cancelSilence = () => {};
  private cancelPause = () => {};
  private readonly listeners = new Map<Listener, Page>();

  constructor(private readonly environment: Environment) {
    this.since = environment.now();
  }

  /** A page joins (or shows itself again); it gets the current state at once. */
  show(listener: Listener): void {
    const page = this.listeners.get(listener);
    const known = page !== undefined;
    if (page) page.visible = true;
    else {
      const joined = this.lastId === "" ? undefined : Number(this.lastId);
      this.listeners.set(listener, { visible: true, joined, shows: undefined });
    }
    this.cancelPause();
    if (!known) {
      listener({ type: "phase", phase: this.phase, since: this.since });
      if (this.box) listener({ type: "box", box: this.box });
    }
    if (!this.source && this.phase !== "down") this.connect();
  }

  /** A page is out of sight. When all are, the stream is closed after a minute. */
  hide(listener: Listener): void {
    const page = this.listeners.get(listener);
    if (page) page.visible = false;
    this.pauseWhenUnseen();
  }

  /** A page shows an answer that was made when event `id` was the newest. */
  seen(listener: Listener, id: number): void {
    const page = this.listeners.get(listener);
    if (!page) return;
    page.shows = Math.min(page.shows ?? Infinity, id);
    this.catchUp(listener, page);
  }

  /** What happened between a page's first answer and its place in the stream it must ask for again. */
  private catchUp(listener: Listener, page: Page): void {
    if (page.joined === undefined || page.shows === undefined || page.shows >= page.joined) return;
    page.shows = Infinity;
    listener({ type: "refresh" });
  }

  leave(listener: Listener): void {
    this.listeners.delete(listener);
    this.pauseWhenUnseen();
  }

  /** Try again now instead of after the wait. */
  retry(): void {
    if (this.source) return;
    this.cancelRetry();
    this.connect();
  }

  private pauseWhenUnseen(): void {
    this.cancelPause();
    if ([...this.listeners.values()].some((page) => page.visible)) return;
    this.cancelPause = this.environment.after(this.listeners.size === 0 ? 1_000 : PAUSE_MS, () => {
      this.disconnect();
      this.cancelRetry();
      this.broken = true;
      this.setPhase("paused");
    });
  }

  private connect(): void {
    this.disconnect();
    if (this.phase === "paused") this.setPhase("connecting");
    const after = this.lastId === "" ? "" : `?after=${this.lastId}`;
    const source = this.environment.open(`/api/v1/live/stream${after}`);
    this.source = source;
    const alive = () => {
      if (this.source !== source) return false;
      this.opened();
      return true;
    };
    source.onopen = alive;
    source.onerror = () => {
      if (this.source === source) this.lost();
    };
    const onEvent = (event: { data: string; lastEventId: string }) => {
      if (!alive()) return;
      if (event.lastEventId !== "") this.lastId = event.lastEventId;
      this.broadcast({ type: "events", events: [JSON.parse(event.data) as BerthEvent] });
    };
    source.addEventListener("event", onEvent);
    source.addEventListener("box", (event) => {
      if (!alive()) return;
      this.box = JSON.parse(event.data) as Box;
      this.broadcast({ type: "box", box: this.box });
    });
    source.addEventListener("hello", (event) => {
      if (alive()) this.greeted(JSON.parse(event.data) as Greeting);
    });
    source.addEventListener("ping", () => {
      if (alive()) this.expectPings();
    });
    source.addEventListener("bye", () => {
      if (this.source === source) this.lost();
    });
  }

  private greeted(hello: Greeting): void {
    const instance = hello.instance ?? "";
    if (this.instance !== "" && instance !== this.instance) this.broadcast({ type: "refresh" });
    this.instance = instance;
    const begin = hello.last_event_id;
    if (begin !== undefined) {
      if (this.lastId === "") this.lastId = String(begin);
      for (const [listener, page] of this.listeners) {
        page.joined ??= begin;
        this.catchUp(listener, page);
      }
    }
    this.expectPings();
  }

  private opened(): void {
    this.failures = 0;
    if (this.phase === "live") return;
    this.setPhase("live");
    if (this.broken) this.broadcast({ type: "refresh" });
    this.broken = false;
  }

  private lost(): void {
    this.disconnect();
    this.broken = true;
    if (this.phase !== "down") this.setPhase("down");
    const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)] ?? 3_000;
    this.failures += 1;
    this.cancelRetry = this.environment.after(wait, () => this.connect());
  }

  private expectPings(): void {
    this.cancelSilence();
    this.cancelSilence = this.environment.after(SILENCE_MS, () => this.lost());
  }

  private disconnect(): void {
    this.cancelSilence();
    this.source?.close();
    this.source = null;
  }

  private setPhase(phase: Phase): void {
    this.phase = phase;
    this.since = this.environment.now();
    this.broadcast({ type: "phase", phase, since: this.since });
  }

  private broadcast(message: FromHub): void {
    for (const listener of this.listeners.keys()) listener(message);
  }
}

/** The real environment: EventSource, the clock and timers of this thread. */
export const browserEnvironment: Environment = {
  open: (url) => new EventSource(url) as unknown as Source,
  now: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
