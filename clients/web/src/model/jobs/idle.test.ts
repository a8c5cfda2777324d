import { describe, expect, test } from "vitest";
import { idleGpus } from "./idle";

const now = Date.parse("2026-11-24T12:00:00Z");
const job = {
  state: "running" as const,
  share: false,
  gpu_uuids: ["a", "b"],
  gpu_indices: [4, 5],
  started_at: "2026-11-24T11:00:00.000Z",
};
const series = (percent: number | null) => () => Array.from({ length: 60 }, () => percent);

describe("idle GPUs of a job", () => {
  test("are those that did nothing for ten minutes, also one beside a busy one", () => {
    expect(idleGpus(job, series(2), now)).toEqual([4, 5]);
    expect(idleGpus(job, series(80), now)).toEqual([]);
    expect(idleGpus(job, (uuid) => series(uuid === "b" ? 2 : 80)(), now)).toEqual([5]);
  });

  test("what is not known, or has only begun, is not called idle", () => {
    expect(idleGpus(job, series(null), now)).toEqual([]);
    expect(idleGpus({ ...job, started_at: "2026-11-24T11:55:00.000Z" }, series(0), now)).toEqual([]);
    expect(idleGpus(job, () => [0, 0], now)).toEqual([]);
  });

  test("of a share nothing is said: the GPU's utilisation is that of all", () => {
    expect(idleGpus({ ...job, share: true }, series(2), now)).toEqual([]);
  });
});
