import { describe, expect, it } from "vitest";
import { FilteredLines, filterPattern } from "./filter";

const matching = (pattern: string, lines: string[]) =>
  lines.filter((line) => new RegExp(pattern, "i").test(line));

describe("log filter", () => {
  it("keeps the lines of one rank, and of one level", () => {
    const lines = ["[rank1]: step", "[rank10]: step", "[default1]: Error: x", "Warning: y", "[rank1]: warn"];
    expect(matching(filterPattern(1, undefined), lines)).toEqual([
      "[rank1]: step",
      "[default1]: Error: x",
      "[rank1]: warn",
    ]);
    expect(matching(filterPattern(undefined, "errors"), lines)).toEqual(["[default1]: Error: x"]);
    expect(matching(filterPattern(undefined, "warnings"), lines)).toHaveLength(3);
    expect(matching(filterPattern(1, "errors"), lines)).toEqual(["[default1]: Error: x"]);
    expect(filterPattern(undefined, undefined)).toBe("");
  });

  it("knows the number of each line, and the place of a number", () => {
    const lines = new FilteredLines([
      { number: 3, text: "a" },
      { number: 90, text: "b" },
    ]);
    expect([lines.total, lines.line(1), lines.number(1)]).toEqual([2, "b", 90]);
    expect([lines.place(3), lines.place(4), lines.place(500)]).toEqual([0, 1, 1]);
  });
});
