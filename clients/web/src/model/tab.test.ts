import { expect, test } from "vitest";
import { iconOf, titleOf } from "./tab";

const job = { id: 3, name: "twin", state: "running" as const };

test("a job's tab says state and percent first", () => {
  expect(titleOf("/jobs/3/log", job, 0.428)).toBe("42 % running · twin · Job 3 · Berth");
  expect(titleOf("/jobs/3/log", { ...job, state: "failed" }, undefined)).toBe(
    "failed · twin · Job 3 · Berth",
  );
  expect(titleOf("/jobs/3/log", undefined, undefined)).toBe("Job 3 · Berth");
  expect(titleOf("/queue", undefined, undefined)).toBe("Queue · Berth");
});

test("the icon shows the state where it has a colour, and trouble before it", () => {
  expect(iconOf(job)).toBe("running");
  expect(iconOf({ ...job, state: "queued" })).toBeUndefined();
  const trouble = { kind: "not_finite" as const, step: 1, metric: "loss", sentence: "" };
  expect(iconOf({ ...job, trouble })).toBe("failed");
});
