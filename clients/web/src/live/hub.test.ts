import { describe, expect, test } from "vitest";
import { Hub } from "./hub";
import type { Source, Environment } from "./hub";
import { keysTouchedBy } from "./invalidate";
import type { FromHub } from "./messages";

class FakeSource implements Source {
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;
  private readonly listeners = new Map<string, (event: { data: string; lastEventId: string }) => void>();
  constructor(readonly url: string) {}
  addEventListener(name: string, listener: (event: { data: string; lastEventId: string }) => void): void {
    this.listeners.set(name, listener);
  }
  send(name: string, data: unknown, lastEventId = ""): void {
    this.listeners.get(name)?.({ data: JSON.stringify(data), lastEventId });
  }
  close(): void {
    this.closed = true;
  }
}

class FakeWorld implements Environment {
  sources: FakeSource[] = [];
  time = 0;
  private timers: { at: number; run: () => void }[] = [];
  open(url: string): FakeSource {
    const source = new FakeSource(url);
    this.sources.push(source);
    return source;
  }
  now(): number {
    return this.time;
  }
  after(ms: number, run: () => void): () => void {
    const timer = { at: this.time + ms, run };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((t) => t !== timer);
    };
  }
  pass(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const due = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((t) => t !== due);
      this.time = due.at;
      due.run();
    }
    this.time = end;
  }
  get current(): FakeSource {
    const source = this.sources.at(-1);
    if (!source) throw new Error("nothing was opened");
    return source;
  }
}

function rig() {
  const world = new FakeWorld();
  const hub = new Hub(world);
  const got: FromHub[] = [];
  const page = (message: FromHub) => void got.push(message);
  const phases = () => got.flatMap((m) => (m.type === "phase" ? [m.phase] : []));
  return { world, hub, got, page, phases };
}

describe("the one stream", () => {
  test("many pages share one connection, and a late page hears the present state", () => {
    const { world, hub, page } = rig();
    hub.show(page);
    world.current.onopen?.();
    world.current.send("box", { hostname: "box" });
    const late: FromHub[] = [];
    hub.show((message) => late.push(message));
    expect(world.sources).toHaveLength(1);
    expect(late.map((m) => m.type)).toEqual(["phase", "box"]);
  });

  test("a broken stream is reported at once, resumed after the last id, and everything refreshed", () => {
    const { world, hub, page, got, phases } = rig();
    hub.show(page);
    world.current.onopen?.();
    world.current.send("event", { id: 7, kind: "job.running" }, "7");
    world.current.onerror?.();
    expect(phases().at(-1)).toBe("down");
    world.pass(300);
    expect(world.sources).toHaveLength(2);
    expect(world.current.url).toContain("after=7");
    world.current.onopen?.();
    expect(phases().at(-1)).toBe("live");
    expect(got.at(-1)?.type).toBe("refresh");
  });

  test("waits grow while the server is away, but stay under three seconds", () => {
    const { world, hub, page } = rig();
    hub.show(page);
    for (let i = 0; i < 10; i += 1) {
      world.current.onerror?.();
      world.pass(3_000);
    }
    expect(world.sources).toHaveLength(11);
  });

  test("silence after pings counts as broken: a sleeping laptop's line looks open for ever", () => {
    const { world, hub, page, phases } = rig();
    hub.show(page);
    world.current.onopen?.();
    world.current.send("ping", {});
    world.pass(12_000);
    expect(phases().at(-1)).toBe("live");
    world.pass(2_000);
    expect(phases()).toContain("down");
  });

  test("a new server instance makes pages fetch again even when no break was seen", () => {
    const { world, hub, page, got } = rig();
    hub.show(page);
    world.current.onopen?.();
    world.current.send("hello", { instance: "a" });
    world.current.send("hello", { instance: "b" });
    expect(got.at(-1)?.type).toBe("refresh");
  });

  test("hidden pages let go of the stream after a minute and take it up when shown", () => {
    const { world, hub, page, phases } = rig();
    hub.show(page);
    world.current.onopen?.();
    hub.hide(page);
    world.pass(30_000);
    expect(world.current.closed).toBe(false);
    world.pass(31_000);
    expect(world.current.closed).toBe(true);
    expect(phases().at(-1)).toBe("paused");
    hub.show(page);
    world.current.onopen?.();
    expect(phases().at(-1)).toBe("live");
  });

  test("what happened between a page's first answer and its stream is asked for again", () => {
    const { world, hub, page, got } = rig();
    const refreshes = () => got.filter((m) => m.type === "refresh").length;
    hub.show(page);
    hub.seen(page, 41);
    world.current.onopen?.();
    world.current.send("hello", { instance: "a", last_event_id: 43 });
    expect(refreshes()).toBe(1);
    // Once, whatever else arrives.
    world.current.send("event", { id: 44, kind: "job.running" }, "44");
    const late: FromHub[] = [];
    const other = (message: FromHub) => void late.push(message);
    hub.show(other);
    hub.seen(other, 44);
    expect(late.some((m) => m.type === "refresh")).toBe(false);
    // Its answer was made before it had joined the stream that others had open.
    const third: FromHub[] = [];
    const slow = (message: FromHub) => void third.push(message);
    hub.show(slow);
    hub.seen(slow, 43);
    expect(third.filter((m) => m.type === "refresh")).toHaveLength(1);
    expect(late.some((m) => m.type === "refresh")).toBe(false);
  });

  test("a page whose answers are as new as its stream asks for nothing twice", () => {
    const { world, hub, page, got } = rig();
    hub.show(page);
    world.current.onopen?.();
    world.current.send("hello", { instance: "a", last_event_id: 43 });
    hub.seen(page, 43);
    expect(got.some((m) => m.type === "refresh")).toBe(false);
  });

  test("what an old connection still says is not listened to", () => {
    const { world, hub, page, got } = rig();
    hub.show(page);
    const old = world.current;
    old.onopen?.();
    old.onerror?.();
    world.pass(300);
    const before = got.length;
    old.send("event", { id: 1 }, "1");
    expect(got).toHaveLength(before);
  });
});

describe("what an event makes old", () => {
  const event = (kind: string, job_id: number | null = null) => ({
    id: 1,
    time: "",
    kind,
    actor: "system",
    message: "",
    job_id,
    attempt: null,
    gpu_uuid: null,
    data: {},
  });

  test("a job's event touches that job, the lists and the explanations, once each", () => {
    const keys = keysTouchedBy([event("job.running", 4), event("job.running", 4)], true);
    expect(keys).toContainEqual(["job", 4]);
    expect(keys).toContainEqual(["jobs"]);
    expect(new Set(keys.map(String)).size).toBe(keys.length);
    expect(keys).not.toContainEqual(["box"]);
  });

  test("without pushes the map is asked for", () => {
    expect(keysTouchedBy([event("gpu.drained")], false)).toContainEqual(["box"]);
  });
});
