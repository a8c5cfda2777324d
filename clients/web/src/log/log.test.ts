import { describe, expect, test } from "vitest";
import { linked } from "./links";
import { LogBuffer, PAGE, shortened } from "./buffer";
import type { Slice } from "./buffer";
import { endTop, isExact, moveBy, onScroll, ROW_PX, scrollHeight, scrollTopOf } from "./position";
import type { Geometry } from "./position";

const server = (total: number) => {
  const calls: number[] = [];
  const fetch = (from: number, count: number): Promise<Slice> => {
    calls.push(from);
    const lines = Array.from(
      { length: Math.max(0, Math.min(count, total - from)) },
      (_, i) => `line ${from + i}`,
    );
    return Promise.resolve({ first: from, lines, total, size_bytes: total * 10, complete: false });
  };
  return { calls, fetch };
};
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

describe("the lines in memory", () => {
  test("what comes into view is fetched once, in pages", async () => {
    const { calls, fetch } = server(5_000);
    const buffer = new LogBuffer(fetch, () => {});
    buffer.take({ first: 4_990, lines: [], total: 5_000, size_bytes: 0, complete: false });
    buffer.want(100, 700);
    buffer.want(100, 700);
    await settle();
    expect(calls).toEqual([0, PAGE]);
    expect(buffer.line(600)).toBe("line 600");
    buffer.want(100, 700);
    expect(calls).toHaveLength(2);
  });

  test("memory stays flat however far one reads", async () => {
    const { fetch } = server(2_000_000);
    const buffer = new LogBuffer(fetch, () => {});
    buffer.take({ first: 0, lines: [], total: 2_000_000, size_bytes: 0, complete: false });
    for (let line = 0; line < 100_000; line += PAGE) {
      buffer.want(line, line + 50);
      await settle();
    }
    expect(buffer.held).toBeLessThanOrEqual(60 * PAGE);
    expect(buffer.line(99_999)).toBe("line 99999");
    expect(buffer.line(0)).toBeUndefined();
  });

  test("a progress bar's line is replaced, not repeated", () => {
    const buffer = new LogBuffer(server(0).fetch, () => {});
    buffer.take({ first: 0, lines: ["start", "10%"], total: 2, size_bytes: 9, complete: false });
    buffer.take({ first: 1, lines: ["20%"], total: 2, size_bytes: 13, complete: false });
    expect(buffer.total).toBe(2);
    expect(buffer.line(1)).toBe("20%");
  });

  test("a hole left by a flood is fetched when looked at", async () => {
    const { calls, fetch } = server(3_000);
    const buffer = new LogBuffer(fetch, () => {});
    buffer.take({ first: 0, lines: ["a"], total: 1, size_bytes: 1, complete: false });
    buffer.take({ first: 2_990, lines: ["z"], total: 3_000, size_bytes: 1, complete: false });
    buffer.want(0, 10);
    await settle();
    expect(calls).toEqual([1]);
    expect(buffer.line(5)).toBe("line 5");
  });

  test("an answer that ends early, its lines being very long, is asked on", async () => {
    const calls: number[] = [];
    const buffer = new LogBuffer(
      (from) => {
        calls.push(from);
        return Promise.resolve({
          first: from,
          lines: ["long", "long"],
          total: 5,
          size_bytes: 1,
          complete: true,
        });
      },
      () => {},
    );
    buffer.take({ first: 0, lines: [], total: 5, size_bytes: 1, complete: true });
    buffer.want(0, 4);
    await settle();
    expect(calls).toEqual([0, 2, 4]);
    expect(buffer.line(4)).toBe("long");
  });

  test("a log that starts again drops what was held of the old one", () => {
    const buffer = new LogBuffer(server(0).fetch, () => {});
    buffer.take({ first: 0, lines: ["old 0", "old 1", "old 2"], total: 3, size_bytes: 9, complete: false });
    buffer.take({ first: 0, lines: ["new 0"], total: 1, size_bytes: 3, complete: false });
    expect(buffer.line(2)).toBeUndefined();
  });

  test("a line longer than anyone reads is cut", () => {
    expect(shortened("30%")).toBe("30%");
    expect(shortened("x".repeat(30_000)).length).toBeLessThan(20_200);
  });
});

describe("where the window stands", () => {
  const even = (total: number): Geometry => ({ total, viewport: 900, heightOf: () => ROW_PX, even: true });

  test("a log of moderate length scrolls one to one", () => {
    const g = even(10_000);
    expect(isExact(g)).toBe(true);
    expect(onScroll(g, 0, 0, 1_800)).toBe(100);
    expect(endTop(g)).toBe(9_950);
  });

  test("two million lines fit under the browser's cap and reach both ends", () => {
    const g = even(2_000_000);
    const room = scrollHeight(g) - g.viewport;
    expect(scrollHeight(g)).toBeLessThan(33_554_428);
    expect(onScroll(g, 0, 0, room)).toBe(endTop(g));
    expect(onScroll(g, endTop(g), room, 0)).toBe(0);
  });

  test("there a turn of the wheel still moves by rows, not by thousands of lines", () => {
    const g = even(2_000_000);
    expect(onScroll(g, 1_000, 4_000, 4_000 + 10 * ROW_PX)).toBeCloseTo(1_010);
  });

  test("position and scroll bar agree, so that putting the bar right moves nothing", () => {
    const g = even(2_000_000);
    const bar = scrollTopOf(g, 1_234_567);
    expect(onScroll(g, 0, -1e9, bar)).toBeCloseTo(1_234_567, -1);
  });

  test("wrapped lines are walked by their own heights and the end is the end", () => {
    const heights = [18, 54, 18, 36, 18];
    const g: Geometry = { total: 5, viewport: 60, heightOf: (i) => heights[i] ?? 18, even: false };
    expect(moveBy(g, 0, 18 + 27)).toBeCloseTo(1.5);
    expect(moveBy(g, 1.5, -27)).toBeCloseTo(1);
    expect(endTop(g)).toBeCloseTo(3 - 6 / 18);
    expect(moveBy(g, 0, 10_000)).toBeCloseTo(endTop(g));
    expect(moveBy(g, 2, -10_000)).toBe(0);
  });

  test("a log shorter than the window stays put", () => {
    expect(endTop(even(3))).toBe(0);
    expect(moveBy(even(3), 0, 500)).toBe(0);
  });
});

test("web addresses in a line are links, their punctuation is not", () => {
  expect(linked("see https://wandb.ai/a/b?x=1, or (http://x.org/y).")).toEqual([
    { text: "see ", link: false },
    { text: "https://wandb.ai/a/b?x=1", link: true },
    { text: ", or (", link: false },
    { text: "http://x.org/y", link: true },
    { text: ").", link: false },
  ]);
  expect(linked("javascript://alert(1)")).toEqual([{ text: "javascript://alert(1)", link: false }]);
});
