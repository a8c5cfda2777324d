import { describe, expect, test } from "vitest";
import { bestOf, bySeed, meanAndDeviation, missing, parameters, spread } from "./compare";
import type { AblationRun } from "./compare";

const run = (id: number, labels: Record<string, string>, fields: object = {}): AblationRun =>
  ({
    job: { id, name: `r${id}`, state: "succeeded", user: "ada", gpus: 4, labels, ...fields },
    last: {},
    best: {},
    step: null,
  }) as unknown as AblationRun;

test("only what differs becomes a column, unless all is asked for", () => {
  const runs = [run(1, { lr: "1", ablation: "a" }), run(2, { lr: "2", ablation: "a" })];
  expect(parameters(runs, false).map((c) => c.name)).toEqual(["lr"]);
  expect(parameters(runs, true).map((c) => c.name)).toEqual(["ablation", "lr", "GPUs", "user"]);
});

describe("the best value", () => {
  test("is the least or the greatest by the metric's direction", () => {
    expect(bestOf([2, 1, 3], true)).toBe(1);
    expect(bestOf([2, 1, null, 3], false)).toBe(3);
  });

  test("is not marked where there is nothing to compare", () => {
    expect(bestOf([2, null], true)).toBeUndefined();
    expect(bestOf([2, 2], true)).toBeUndefined();
    expect(bestOf([], true)).toBeUndefined();
  });
});

test("runs that differ only in their seed are one group with mean and spread", () => {
  const groups = bySeed([
    run(1, { lr: "1", seed: "1" }),
    run(2, { lr: "1", seed: "2" }),
    run(3, { lr: "2", seed: "1" }),
  ]);
  expect(groups.map((g) => [g.key, g.runs.length])).toEqual([
    ["lr=1", 2],
    ["lr=2", 1],
  ]);
  expect(meanAndDeviation(2.25213, 0.017397)).toBe("2.252 ± 0.017");
  expect(meanAndDeviation(15624.13, 8.24)).toBe("15,624.1 ± 8.2");
  expect(meanAndDeviation(2, undefined)).toBe("2");
  expect(meanAndDeviation(1e-5, 2e-7)).toBe("1e-5 ± 2e-7");
  expect(spread([1, 3, null])).toEqual({ mean: 2, deviation: Math.SQRT2, n: 2 });
  expect(spread([null])).toBeUndefined();
});

test("an empty cell says why", () => {
  expect(missing(run(1, {}, { state: "failed", outcome: "oom_gpu" }))).toBe("out of GPU memory");
  expect(missing(run(1, {}, { state: "failed", outcome: "exit" }))).toBe("failed");
  expect(missing(run(1, {}, { state: "cancelled", outcome: "cancelled" }))).toBe("cancelled");
  expect(missing(run(1, {}, { state: "queued" }))).toBe("queued");
  expect(missing(run(1, {}, { state: "running" }))).toBe("not yet");
});
