import { expect, it } from "vitest";
import { fixOf } from "./fix";

it("proposes the change that follows from how a job ended", () => {
  const failed = { state: "failed" as const, retries: 0, on_oom: null, time_limit: "90m" };
  expect(fixOf({ ...failed, outcome: "time_limit" })?.change).toEqual({ timeLimit: "3h" });
  expect(fixOf({ ...failed, outcome: "oom_gpu" })?.change).toEqual({ onOom: true, retries: "3" });
  expect(fixOf({ ...failed, outcome: "stalled", retries: 5 })?.change).toEqual({ retries: "5" });
  expect(fixOf({ ...failed, outcome: "exit" })).toBeUndefined();
  expect(fixOf({ ...failed, state: "succeeded", outcome: "exit" })).toBeUndefined();
});
