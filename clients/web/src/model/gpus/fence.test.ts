import { expect, test } from "vitest";
import { fenceSentence } from "./fence";

test("a fence that is only advisory names the fix, unless the GPUs are simulated", () => {
  expect(fenceSentence({ fence: "advisory", source: "nvml" })).toContain("run the worker as root");
  expect(fenceSentence({ fence: "advisory", source: "simulated" })).toBe(
    "Not needed: the GPUs are simulated.",
  );
  expect(fenceSentence({ fence: null, source: "nvml" })).toContain("until the worker reports");
});
