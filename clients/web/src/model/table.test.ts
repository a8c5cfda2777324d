import { describe, expect, it } from "vitest";
import { chosenColumns, parseSort, pressed, sorted, sortText } from "./table";

describe("sort", () => {
  it("stands in an address as a column, with a minus for the greatest first", () => {
    expect(parseSort("-gpus")).toEqual({ key: "gpus", down: true });
    expect(sortText(parseSort("name"))).toBe("name");
    expect(parseSort(undefined)).toBeUndefined();
  });

  it("turns around with the second press", () => {
    const first = pressed(undefined, "gpus", true);
    expect(first).toEqual({ key: "gpus", down: true });
    expect(pressed(first, "gpus", true)).toEqual({ key: "gpus", down: false });
    expect(pressed(first, "name", false)).toEqual({ key: "name", down: false });
  });

  it("puts numbers by size, texts as people do, and rows without a value last both ways", () => {
    const rows = [{ v: 10 }, { v: null }, { v: 9 }];
    expect(sorted(rows, (row) => row.v, false).map((row) => row.v)).toEqual([9, 10, null]);
    expect(sorted(rows, (row) => row.v, true).map((row) => row.v)).toEqual([10, 9, null]);
    const names = ["run 10", "Run 9", ""];
    expect(sorted(names, (name) => name, false)).toEqual(["Run 9", "run 10", ""]);
  });
});

describe("columns", () => {
  it("are those of the address that the table knows, in its order", () => {
    expect(chosenColumns("c,a,x", ["a", "b", "c"], ["b"])).toEqual(["a", "c"]);
    expect(chosenColumns(undefined, ["a", "b"], ["b"])).toEqual(["b"]);
    expect(chosenColumns("x", ["a", "b"], ["b"])).toEqual(["b"]);
  });
});
