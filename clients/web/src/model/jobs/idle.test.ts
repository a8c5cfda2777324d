import { describe, expect, test } from "vitest";
import type { Gpu } from "@/api/types";
import { isIdle, nextFree } from "./idle";

const now = Date.parse("2026-11-24T12:00:00Z");
const job = { state: "running" as const, gpu_uuids: ["a", "b"], started_at: "2026-11-24T11:00:00.000Z" };
const series = (percent: number | null) => () => Array.from({ length: 60 }, () => percent);

describe("an idle holder", () => {
  test("is one whose GPUs all did nothing for ten minutes", () => {
    expect(isIdle(job, series(2), now)).toBe(true);
    expect(isIdle(job, series(80), now)).toBe(false);
    expect(isIdle(job, (uuid) => series(uuid === "a" ? 2 : 80)(), now)).toBe(false);
  });

  test("what is not known, or has only begun, is not called idle", () => {
    expect(isIdle(job, series(null), now)).toBe(false);
    expect(isIdle({ ...job, started_at: "2026-11-24T11:55:00.000Z" }, series(0), now)).toBe(false);
    expect(isIdle(job, () => [0, 0], now)).toBe(false);
  });
});

test("the next GPUs to come free are those of the first limit", () => {
  const gpu = (index: number, until: string | null) =>
    ({ index, holder: { kind: "job", until, sentence: "" } }) as Gpu;
  const found = nextFree([
    gpu(0, "2026-11-24T14:00:00.000Z"),
    gpu(1, "2026-11-24T13:00:00.000Z"),
    gpu(2, "2026-11-24T13:00:00.400Z"),
    gpu(3, null),
  ]);
  expect(found).toEqual({ indices: [1, 2], at: Date.parse("2026-11-24T13:00:00Z") });
  expect(nextFree([gpu(0, null)])).toBeUndefined();
});
