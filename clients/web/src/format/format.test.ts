import { describe, expect, test } from "vitest";
import { absolute, clock, duration, leftBetween, parseDuration, relative, span, wallClock } from "./duration";
import { bytes, count, gib, metric, percent, plural, roundGib } from "./units";

describe("durations", () => {
  test.each([
    [0, "0s"],
    [59.9, "59s"],
    [60, "1m"],
    [90, "1m 30s"],
    [3_600, "1h"],
    [3_661, "1h 1m"],
    [86_400, "1d"],
    [97_200, "1d 3h"],
    [-5, "0s"],
  ])("%d s reads %s: two largest units, no empty one", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });

  test.each([
    ["1h30m", 5_400],
    ["12h", 43_200],
    ["90", 90],
    ["250ms", 0.25],
    ["2-01:00:00", 176_400],
    ["1:30", 5_400],
    ["1d 2h", 93_600],
  ])("%s is read as the server reads it", (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  test("a time left has a median and what nine of ten keep, where that is longer", () => {
    expect(leftBetween(4_800, 6_000)).toBe("1h 20m to 1h 40m");
    expect(leftBetween(4_800, 4_810)).toBe("about 1h 20m");
    expect(leftBetween(45, null)).toBe("about 45s");
    expect(leftBetween(45, 40)).toBe("about 45s");
  });

  test.each(["", "soon", "1x", "h", "1h foo"])("%s is no duration", (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  test("what is over and was short keeps a tenth", () => {
    expect(span(0.467)).toBe("0.5s");
    expect(span(61)).toBe("1m 1s");
  });

  test("a running clock keeps its width", () => {
    expect(clock(43_449)).toBe("12:04:09");
    expect(clock(90_061)).toBe("1d 01:01:01");
  });
});

describe("times", () => {
  const now = new Date(2026, 10, 24, 14, 3, 9).getTime();

  test("relative times say which way", () => {
    expect(relative(now + 300_000, now)).toBe("in 5m");
    expect(relative(now - 61_000, now)).toBe("1m 1s ago");
    expect(relative(now, now)).toBe("now");
  });

  test("absolute times carry date and seconds", () => {
    expect(absolute(now)).toBe("2026-11-24 14:03:09");
  });

  test("a time on another day names the day", () => {
    expect(wallClock(now + 600_000, now)).toBe("14:13");
    expect(wallClock(now - 13 * 3_600_000, now)).toBe("01:03");
    expect(wallClock(now + 86_400_000, now)).toBe("Wed 14:03");
    expect(wallClock(now + 10 * 86_400_000, now)).toBe("4 Dec 14:03");
  });
});

describe("numbers", () => {
  test("sizes are powers of 1024 with their unit", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(1536)).toBe("1.5 KiB");
    expect(bytes(80 * 1024 ** 3)).toBe("80.0 GiB");
    expect(gib(80 * 1024 ** 3)).toBe("80.0");
    expect([79.6, 4.24, 0.01].map((n) => roundGib(n * 1024 ** 3))).toEqual(["80", "4.2", "0"]);
  });

  test("what is not known is a dash, not a zero", () => {
    expect(bytes(null)).toBe("–");
    expect(percent(undefined)).toBe("–");
    expect(metric(null)).toBe("–");
    expect(percent(0)).toBe("0 %");
  });

  test("metrics keep five significant digits at every size", () => {
    expect(metric(0.0123456)).toBe("0.012346");
    expect(metric(1e-5)).toBe("1e-5");
    expect(metric(3.33333e-7)).toBe("3.333e-7");
    expect(metric(12_000)).toBe("12,000");
    expect(metric(5055.51)).toBe("5,055.5");
    expect(metric(2.5)).toBe("2.5");
  });

  test("one of a thing is not plural", () => {
    expect(plural(1, "GPU")).toBe("1 GPU");
    expect(plural(4, "GPU")).toBe("4 GPUs");
    expect(count(1_203_441)).toBe("1,203,441");
  });
});
