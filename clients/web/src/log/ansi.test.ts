import { describe, expect, test } from "vitest";
import { contrast, parseAnsi, readable, stripAnsi } from "./ansi";

const ESC = "\x1b";

describe("ANSI colours", () => {
  test("a plain line is one span without a look", () => {
    expect(parseAnsi("loss 0.5")).toEqual([{ text: "loss 0.5", classes: "" }]);
    expect(parseAnsi("")).toEqual([]);
  });

  test("the sixteen names become classes and reset ends them", () => {
    expect(parseAnsi(`${ESC}[1;31merror${ESC}[0m: no`)).toEqual([
      { text: "error", classes: "ansi-fg-1 ansi-bold" },
      { text: ": no", classes: "" },
    ]);
    expect(parseAnsi(`${ESC}[92mok`)[0]?.classes).toBe("ansi-fg-10");
    expect(parseAnsi(`${ESC}[101mx`)[0]?.classes).toBe("ansi-bg-9");
  });

  test("the 256 cube and truecolour become exact colours", () => {
    expect(parseAnsi(`${ESC}[38;5;196mx`)[0]?.color).toEqual([255, 0, 0]);
    expect(parseAnsi(`${ESC}[38;5;244mx`)[0]?.color).toEqual([128, 128, 128]);
    expect(parseAnsi(`${ESC}[48;2;1;2;300mx`)[0]?.background).toEqual([1, 2, 255]);
    expect(parseAnsi(`${ESC}[38;5;3mx`)[0]?.classes).toBe("ansi-fg-3");
  });

  test("whatever else a terminal would obey is dropped", () => {
    const line = `${ESC}]0;title\x07a${ESC}[2Kb${ESC}[10;10Hc${ESC}(Bd\x00e${ESC}[?25lf`;
    expect(stripAnsi(line)).toBe("abcdef");
    expect(parseAnsi(line)).toEqual([{ text: "abcdef", classes: "" }]);
  });

  test("an unfinished escape at the end of a line does no harm", () => {
    expect(stripAnsi(`abc${ESC}[38;5`)).not.toContain(ESC);
  });

  test("inverse swaps the two colours", () => {
    expect(parseAnsi(`${ESC}[7;32mx`)[0]?.classes).toBe("ansi-fg-inverse ansi-bg-2");
  });

  test("markup in a log stays text", () => {
    expect(parseAnsi("<script>alert(1)</script>")[0]?.text).toBe("<script>alert(1)</script>");
  });
});

describe("contrast", () => {
  test.each([
    [
      [0, 0, 128],
      [16, 20, 26],
    ],
    [
      [255, 255, 0],
      [255, 255, 255],
    ],
    [
      [128, 128, 128],
      [120, 120, 120],
    ],
  ] as const)("%j on %j is moved until it can be read", (colour, ground) => {
    expect(contrast(readable(colour, ground), ground)).toBeGreaterThanOrEqual(4.3);
  });

  test("a colour that can be read already is left alone", () => {
    expect(readable([255, 255, 255], [0, 0, 0])).toEqual([255, 255, 255]);
  });
});
