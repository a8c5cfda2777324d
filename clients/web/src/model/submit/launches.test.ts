import { expect, test } from "vitest";
import { launchesText, launchSpecs, mayBeSeveral } from "./launches";
import type { ParsedLaunch } from "./launches";

const launch = (command: string, gpus: number, problem?: string): ParsedLaunch => ({
  line: 1,
  command,
  launcher: "accelerate",
  gpus,
  before: command,
  ...(problem === undefined ? {} : { problem }),
});

test("two commands are two jobs with everything else that the form says", () => {
  const two = [launch("accelerate launch a.py", 4), launch("accelerate launch b.py", 4)];
  expect(launchSpecs({ command: "both", name: "run", time_limit: "2h" }, two)).toEqual([
    { command: "accelerate launch a.py", name: "run 1", time_limit: "2h" },
    { command: "accelerate launch b.py", name: "run 2", time_limit: "2h" },
  ]);
  expect(launchesText(two)).toBe("2 commands were found: 2 jobs, GPUs: 4 each");
});

test("what cannot be read is no job", () => {
  const some = [launch("a", 1), launch("b", 2, "unclosed quote"), launch("c", 2)];
  expect(launchSpecs({ command: "x" }, some).map((spec) => spec.command)).toEqual(["a", "c"]);
  expect(launchesText(some)).toBe("3 commands were found: 2 jobs, GPUs: 1 and 2");
});

test("only a text of several lines or commands is asked about", () => {
  expect(mayBeSeveral("python a.py\n")).toBe(false);
  expect(mayBeSeveral("python a.py\npython b.py")).toBe(true);
});
