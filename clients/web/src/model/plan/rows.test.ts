import { describe, expect, test } from "vitest";
import type { BoxPlan } from "@/api/types";
import { areaOf, barText, rowsOf } from "./rows";

const at = (hour: number) => new Date(Date.UTC(2026, 10, 24, 12 + hour)).toISOString();
const plan = {
  now: at(0),
  starts_at: at(-10),
  ends_at: at(10),
  times: [],
  gpus: [
    { uuid: "a", index: 0, utilization_percent: [], draining: true, drain_until: at(5) },
    { uuid: "b", index: 1, utilization_percent: [], draining: false, blocked: "pid 9 of carol" },
  ],
  bars: [
    {
      job_id: 1,
      name: "x",
      user: "ada",
      kind: "running",
      gpu_indices: [0],
      starts_at: at(-20),
      ends_by: at(20),
    },
    {
      job_id: 2,
      name: "y",
      user: "bob",
      kind: "planned",
      gpu_indices: [0, 1],
      starts_at: at(2),
      starts_by: at(3),
      ends_at: at(4),
      ends_by: at(6),
    },
  ],
  reservations: [
    { id: 1, gpu_indices: [1], users: ["eve"], groups: [], starts_at: at(1), ends_at: at(30), reason: "r" },
  ],
} as unknown as BoxPlan;

describe("the rows of the plan", () => {
  const [first, second] = rowsOf(plan);
  test("bars stand where they are on the axis, cut at its ends", () => {
    expect(first?.pieces.map((p) => [p.bar.job_id, p.from, p.to, p.open])).toEqual([
      [1, 0, 1, true],
      [2, 0.6, 0.7, false],
    ]);
    expect([first?.pieces[1]?.startsBy, first?.pieces[1]?.endsBy]).toEqual([0.65, 0.8]);
    expect(second?.pieces).toHaveLength(1);
  });

  test("drains, reservations and external processes are walls", () => {
    expect(first?.walls.map((w) => [w.kind, w.from, w.to])).toEqual([["drained", 0.5, 0.75]]);
    expect(second?.walls.map((w) => [w.kind, w.from, w.to])).toEqual([
      ["reserved", 0.55, 1],
      ["blocked", 0.5, 1],
    ]);
  });

  test("a bar says who, where, when, and how sure it is", () => {
    const [running, planned] = plan.bars;
    if (!running || !planned) throw new Error("no bars");
    expect(barText(running, Date.parse(at(0)))).toMatch(/runs since .*, end unknown, limit /);
    expect(barText(planned, Date.parse(at(0)))).toMatch(/GPUs 0–1: expected about .*nine times of ten/);
  });
});

test("utilisation is an area with gaps where nothing was measured", () => {
  expect(areaOf([100, null, 50], 0, 0.3)).toBe("M0.0000 1V0.000H0.1000V1ZM0.2000 1V0.500H0.3000V1Z");
});
