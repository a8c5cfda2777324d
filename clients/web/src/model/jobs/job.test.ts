import { describe, expect, test } from "vitest";
import type { Gpu, Job, Progress } from "@/api/types";
import {
  commandLine,
  consequence,
  jobHue,
  limitEnd,
  progressOf,
  runSeconds,
  shellQuote,
  steps,
  verbsFor,
} from "./job";

const job = (fields: Partial<Job>): Job =>
  ({
    id: 42,
    name: "x",
    state: "queued",
    user: "ada",
    gpus: 4,
    priority: 0,
    grace: "60s",
    warn_before: "60s",
    retries: 0,
    workdir: "/",
    queued_at: "2026-11-24T12:00:00.000Z",
    gpu_indices: [],
    attempts: [],
    ...fields,
  }) as Job;

describe("commands", () => {
  test("a list is shown as a shell would need it", () => {
    expect(commandLine({ command: ["python", "a b.py", "it's"] })).toBe(
      String.raw`python 'a b.py' 'it'\''s'`,
    );
    expect(shellQuote("--lr=1e-4")).toBe("--lr=1e-4");
    expect(shellQuote("")).toBe("''");
  });

  test("a script is shown by its first real line", () => {
    expect(commandLine({ script: "#!/bin/bash\n\npython train.py\nmore" })).toBe("python train.py …");
    expect(commandLine({ script: "echo one\n" })).toBe("echo one");
  });
});

describe("times", () => {
  const started = job({ started_at: "2026-11-24T12:00:00.000Z", time_limit: "1h" });
  const now = Date.parse("2026-11-24T12:10:00Z");

  test("run time counts until now, or until the end", () => {
    expect(runSeconds({ ...started, state: "running" }, now)).toBe(600);
    const ended = { ...started, state: "succeeded" as const, ended_at: "2026-11-24T12:05:00.000Z" };
    expect(runSeconds(ended, now)).toBe(300);
    expect(runSeconds(job({}), now)).toBeUndefined();
  });

  test("the clock of a job that was stopped and is queued again stands still", () => {
    const attempts = [
      { number: 1, started_at: "2026-11-24T12:00:00.000Z", ended_at: "2026-11-24T12:03:00.000Z" },
    ] as unknown as NonNullable<Job["attempts"]>;
    const again = { ...started, state: "queued" as const, attempts };
    expect(runSeconds(again, now)).toBe(180);
    expect(runSeconds(again, now + 60_000)).toBe(180);
  });

  test("the limit ends a time limit after the start", () => {
    expect(limitEnd(started)).toBe(Date.parse("2026-11-24T13:00:00Z"));
    expect(limitEnd(job({ started_at: "2026-11-24T12:00:00.000Z" }))).toBeUndefined();
  });
});

describe("what may be done", () => {
  test.each([
    ["held", ["release", "cancel"]],
    ["queued", ["hold", "cancel"]],
    ["running", ["cancel"]],
    ["stopping", []],
    ["failed", ["retry"]],
  ] as const)("%s offers %j", (state, verbs) => {
    expect(verbsFor(state)).toEqual(verbs);
  });

  test("cancelling a running job says what is lost and which GPUs come free", () => {
    const sentence = consequence("cancel", job({ state: "running", gpu_indices: [2, 3], grace: "90s" }), 0);
    expect(sentence).toContain("90s");
    expect(sentence).toContain("GPUs 2–3 are free");
  });

  test("cancelling a queued job says that it never starts", () => {
    expect(consequence("cancel", job({}), 0)).toContain("will not start");
    const saved = [{ number: 1, saved_at: "2026-11-24T10:00:00Z" }] as unknown as Job["attempts"];
    const running = job({ state: "running", ...(saved ? { attempts: saved } : {}) });
    expect(consequence("cancel", running, Date.parse("2026-11-24T10:03:00Z"))).toContain(
      "Work since the checkpoint 3m ago is lost",
    );
  });
});

describe("the step line", () => {
  const state = (fields: Partial<Job>) => steps(job(fields)).map((s) => `${s.name}:${s.status}`);

  test("shows where the job is now", () => {
    expect(state({ state: "held" })).toEqual([
      "submitted:done",
      "held:now",
      "starting:todo",
      "running:todo",
      "ended:todo",
    ]);
    expect(state({ state: "running" })[3]).toBe("running:now");
  });

  test("says how long each step took, and begins again for a job that was stopped", () => {
    const at = (minute: number) => new Date(Date.UTC(2026, 10, 24, 12, minute)).toISOString();
    const attempts = [
      { number: 1, created_at: at(10), started_at: at(11), ended_at: at(31) },
    ] as unknown as NonNullable<Job["attempts"]>;
    const ran = steps(
      job({ state: "failed", queued_at: at(0), started_at: at(11), ended_at: at(31), attempts }),
    );
    expect(ran.map((s) => (s.took ?? 0) / 60_000)).toEqual([0, 10, 1, 20, 0]);
    const again = steps(job({ state: "queued", queued_at: at(0), started_at: at(11), attempts }));
    expect(again.map((s) => s.at)).toEqual([
      Date.parse(at(0)),
      Date.parse(at(31)),
      ...Array(3).fill(undefined),
    ]);
    expect(again.map((s) => s.status)).toEqual(["done", "now", "todo", "todo", "todo"]);
  });

  test("a job cancelled in the queue never shows as having run", () => {
    expect(state({ state: "cancelled" })).toEqual([
      "submitted:done",
      "queued:todo",
      "starting:todo",
      "running:todo",
      "cancelled:now",
    ]);
  });

  test("progress comes from the newer of job and map", () => {
    const progress = (step: number): Progress => ({
      step,
      total: 100,
      fraction: step / 100,
      source: "log",
      at: "2026-11-30T10:00:00Z",
    });
    const held = (job_id: number, step: number) =>
      ({ holders: [{ kind: "job", job_id, progress: progress(step), sentence: "" }] }) as unknown as Gpu;
    expect(progressOf(job({ progress: progress(10) }), [held(41, 90), held(42, 20)])?.step).toBe(20);
    expect(progressOf(job({ progress: progress(10) }), [held(41, 90)])?.step).toBe(10);
    expect(progressOf(job({}), [])).toBeUndefined();
  });

  test("neighbouring jobs have hues far apart", () => {
    const apart = Math.abs(jobHue(7) - jobHue(8));
    expect(Math.min(apart, 360 - apart)).toBeGreaterThan(60);
  });
});
