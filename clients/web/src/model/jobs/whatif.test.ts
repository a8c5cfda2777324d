import { describe, expect, it } from "vitest";
import type { WhatIfOption } from "@/api/types";
import { isBetter, patchOf, variantsOf } from "./whatif";

const now = Date.parse("2026-11-30T12:00:00Z");
const asked: WhatIfOption = {
  varies: "nothing",
  gpus: 8,
  time_limit: "8h",
  starts_now: false,
  expected_start: "2026-11-30T20:00:00Z",
};

describe("what-if", () => {
  it("says of each variant how much sooner it starts", () => {
    const options: WhatIfOption[] = [
      asked,
      { ...asked, varies: "gpus", gpus: 2, starts_now: true, expected_start: null },
      { ...asked, varies: "time_limit", time_limit: null },
      { ...asked, varies: "share", gpus: 1, share: true, gpu_memory: 40 * 2 ** 30, expected_start: null },
    ];
    const found = variantsOf(options, now);
    expect(found.map((one) => [one.text, one.sooner])).toEqual([
      ["8 GPUs", 0],
      ["2 GPUs", 8 * 3_600_000],
      ["no time limit", 0],
      ["share of a GPU, 40.0 GiB", undefined],
    ]);
    expect(found.map((one) => isBetter(one, asked, now))).toEqual([false, true, false, false]);
  });

  it("prefers any start in sight to none", () => {
    const unknown: WhatIfOption = { ...asked, expected_start: null };
    const [, four] = variantsOf([unknown, { ...asked, varies: "gpus", gpus: 4 }], now);
    expect(four && isBetter(four, unknown, now)).toBe(true);
  });

  it("turns a variant into the change that makes it so", () => {
    expect(patchOf({ ...asked, varies: "gpus", gpus: 4 })).toEqual({ gpus: 4 });
    expect(patchOf({ ...asked, varies: "time_limit", time_limit: null })).toEqual({ time_limit: null });
    expect(patchOf({ ...asked, varies: "preemptible", preemptible: true })).toEqual({ preemptible: true });
    expect(patchOf({ ...asked, varies: "share", share: true })).toBeUndefined();
  });
});
