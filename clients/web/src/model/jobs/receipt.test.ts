import { describe, expect, it } from "vitest";
import type { Curve, GpuUsage } from "@/api/types";
import { large, lossPerGpuHour, receiptLines, tokensOf } from "./receipt";

const usage: GpuUsage = {
  gpu_hours: 12.437,
  seen_fraction: 1,
  utilization_percent: 87.4,
  idle_percent: 3.2,
  energy_kwh: 4,
  cost: 9.5,
  currency: "EUR",
  co2_g: 1520,
};
const curve = (times: number[], values: (number | null)[]): Curve => ({
  steps: times,
  times,
  values,
  total: values.length,
  last: values.at(-1) ?? null,
});

describe("receipt", () => {
  it("states what was measured, with its unit", () => {
    const lines = receiptLines(usage, 48_000_000).map((line) => `${line.name} ${line.value}`);
    expect(lines).toEqual([
      "GPU-hours 12.4",
      "busy 87 %",
      "idle 3 %",
      "energy 4 kWh",
      "cost 9.50 EUR",
      "CO₂ 1.52 kg",
      "tokens per kWh about 12 M",
    ]);
  });

  it("leaves out what nobody measured or priced", () => {
    expect(receiptLines({ gpu_hours: 0.0312 }, 1e6).map((line) => line.name)).toEqual(["GPU-hours"]);
  });

  it("says of which part of the time a utilisation is", () => {
    const [, busy] = receiptLines({ ...usage, seen_fraction: 0.5 }, undefined);
    expect(busy?.about).toContain("50 %");
  });

  it("counts tokens by a count, else by a rate over the time", () => {
    expect(tokensOf({ num_input_tokens_seen: curve([1, 2], [10, 500]) })).toBe(500);
    expect(tokensOf({ tokens_per_s: curve([0, 10, 20], [100, 100, 200]) })).toBe(3000);
    expect(tokensOf({ tokens_per_s: curve([0, 10, 20], [100, null, 200]) })).toBe(2000);
    expect(tokensOf({ loss: curve([0, 1], [2, 1]) })).toBeUndefined();
    expect(large(1_234_567)).toBe("1.23 M");
  });

  it("gives the fall of a loss for each GPU-hour", () => {
    expect(lossPerGpuHour(4, 1, { gpu_hours: 6 })).toBe(0.5);
    expect(lossPerGpuHour(undefined, 1, { gpu_hours: 6 })).toBeUndefined();
    expect(lossPerGpuHour(4, 1, { gpu_hours: 0 })).toBeUndefined();
    expect(lossPerGpuHour(4, 1, null)).toBeUndefined();
  });
});
