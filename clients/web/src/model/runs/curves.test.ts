import { describe, expect, test } from "vitest";
import type { Curve, RunCurves } from "@/api/types";
import {
  align,
  byWeight,
  extended,
  groupsOf,
  isCrowded,
  lessIsBetter,
  smooth,
  tableOf,
  toCsv,
  toMarkdown,
  troubleText,
  withoutOutliers,
} from "./curves";

const curve = (steps: number[], values: (number | null)[]): Curve => ({
  steps,
  times: [],
  values,
  total: steps.length,
  last: values.at(-1) ?? null,
  last_step: steps.at(-1) ?? null,
  best: 1,
  trouble: null,
});
const curves = (found: Record<string, Curve>, whole = true): RunCurves => ({
  job_id: 1,
  attempt: "1.1",
  source: "metrics.jsonl",
  names: Object.keys(found),
  curves: found,
  total: 3,
  timed: false,
  read_all: true,
  after: "x",
  whole,
});

describe("curves", () => {
  test("go on with what is new; last value and trouble are the newest", () => {
    const more = curves({ loss: { ...curve([3], [null]), trouble: { kind: "not_finite", step: 3 } } }, false);
    const all = extended(curves({ loss: curve([1, 2], [5, 4]) }), more);
    expect(all.curves["loss"]).toMatchObject({ steps: [1, 2, 3], values: [5, 4, null], last: null });
    expect(all.curves["loss"]?.trouble && troubleText(all.curves["loss"].trouble)).toBe(
      "NaN or infinite since step 3",
    );
    expect(isCrowded(all, 1)).toBe(false);
    expect(isCrowded(curves({ loss: curve([1, 2, 3, 4], [1, 2, 3, 4]) }), 1)).toBe(true);
  });

  test("a table has a row for each step of any metric", () => {
    const rows = tableOf({ loss: curve([1, 3], [5, 4]), eval: curve([2, 3], [7, null]) }, ["loss", "eval"]);
    expect(rows).toEqual([
      [1, null, 5, null],
      [2, null, null, 7],
      [3, null, 4, null],
    ]);
  });

  test("outliers are left out of the range, few values are all kept", () => {
    const values = Array.from({ length: 200 }, (_, i) => (i === 100 ? 1e9 : 1 + (i % 2)));
    const [low, high] = withoutOutliers(values) ?? [0, 0];
    expect([low < 1, high > 2, high < 3]).toEqual([true, true, true]);
    expect(withoutOutliers([1, 1e9])).toBeUndefined();
  });

  test("groups are the names before the first slash", () => {
    expect(groupsOf(["loss", "train/a", "eval/b", "train/c"])).toEqual([
      { name: "", metrics: ["loss"] },
      { name: "train", metrics: ["train/a", "train/c"] },
      { name: "eval", metrics: ["eval/b"] },
    ]);
  });
});

describe("smoothing", () => {
  test("starts at the first value and keeps a constant", () => {
    expect(smooth([2, 2, 2], 0.9).map((v) => Number(v?.toFixed(9)))).toEqual([2, 2, 2]);
    expect(smooth([5, null, 1], 0.5)[0]).toBe(5);
    expect(smooth([5, null, 1], 0.5)[1]).toBeNull();
  });

  test("weight 0 changes nothing", () => {
    expect(smooth([1, 9], 0)).toEqual([1, 9]);
  });
});

test("runs with different steps share one axis", () => {
  const { x, ys } = align([
    { x: [1, 3], y: [10, 30] },
    { x: [2, 3], y: [20, 31] },
  ]);
  expect(x).toEqual([1, 2, 3]);
  expect(ys).toEqual([
    [10, undefined, 30],
    [undefined, 20, 31],
  ]);
});

test("the direction of a metric follows from its name, or is unknown", () => {
  expect(lessIsBetter("eval_loss")).toBe(true);
  expect(lessIsBetter("eval_accuracy")).toBe(false);
  expect(lessIsBetter("tokens_per_second")).toBe(false);
  expect(lessIsBetter("epoch")).toBeUndefined();
});

test("losses come first", () => {
  expect(byWeight(["tokens_per_second", "learning_rate", "eval_loss", "loss", "epoch"])).toEqual([
    "loss",
    "eval_loss",
    "learning_rate",
    "tokens_per_second",
  ]);
});

describe("export", () => {
  test("CSV quotes what needs it", () => {
    expect(
      toCsv([
        ["a", "b,c"],
        [1, 'x"y'],
        [null, 2],
      ]),
    ).toBe('a,"b,c"\r\n1,"x""y"\r\n,2\r\n');
  });

  test("Markdown escapes the bar", () => {
    expect(
      toMarkdown([
        ["run", "loss"],
        ["a|b", 1],
      ]),
    ).toBe("| run | loss |\n| --- | --- |\n| a\\|b | 1 |\n");
  });
});
