import { expect, test } from "vitest";
import { roundTicks } from "./ticks";

const MINUTE = 60_000;
const at = (hour: number, minute: number) => new Date(2026, 10, 25, hour, minute).getTime();
const clock = (ticks: readonly number[]) =>
  ticks.map((t) => `${new Date(t).getHours()}:${String(new Date(t).getMinutes()).padStart(2, "0")}`);

test("ticks stand at round times of the reader's clock, whenever now is", () => {
  expect(clock(roundTicks(at(14, 7), 60 * MINUTE, 4))).toEqual(["14:15", "14:30", "14:45", "15:00"]);
  expect(clock(roundTicks(at(14, 7), 100 * MINUTE, 4))).toEqual(["14:30", "15:00", "15:30"]);
  expect(clock(roundTicks(at(14, 7), 11 * 60 * MINUTE, 4))).toEqual(["15:00", "18:00", "21:00", "0:00"]);
  expect(clock(roundTicks(at(14, 7), 48 * 60 * MINUTE, 4))).toEqual(["0:00", "12:00", "0:00", "12:00"]);
});

test("there are never more than asked for by more than the one at the edge", () => {
  for (let minutes = 60; minutes < 20_000; minutes += 37) {
    const found = roundTicks(at(9, 41), minutes * MINUTE, 4);
    expect(found.length).toBeLessThanOrEqual(5);
    expect(found.length).toBeGreaterThan(0);
    expect(found.every((t) => t >= at(9, 41) && t < at(9, 41) + minutes * MINUTE)).toBe(true);
  }
});
