import { describe, expect, test } from "vitest";
import { align, byWeight, columns, lessIsBetter, smooth, toCsv, toMarkdown } from "./curves";

describe("columns", () => {
  test("evaluation and training points of one step become one row", () => {
    const c = columns({
      names: ["eval_loss", "loss"],
      points: [
        { step: 1, loss: 3 },
        { step: 2, loss: 2 },
        { step: 2, eval_loss: 2.5 },
      ],
    });
    expect(c.steps).toEqual([1, 2]);
    expect(c.series).toEqual({ loss: [3, 2], eval_loss: [null, 2.5] });
  });

  test("a run resumed from a checkpoint replaces what it does again", () => {
    const c = columns({ names: ["loss"], points: [1, 2, 3, 2, 3].map((step, i) => ({ step, loss: i })) });
    expect(c.steps).toEqual([1, 2, 3]);
    expect(c.series["loss"]).toEqual([0, 3, 4]);
  });

  test("points without a step are counted", () => {
    expect(columns({ names: ["loss"], points: [{ loss: 1 }, { loss: 2 }] }).steps).toEqual([0, 1]);
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
    [10, null, 30],
    [null, 20, 31],
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
