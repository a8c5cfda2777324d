import { describe, expect, test } from "vitest";
import { compact, scalar, specOf, toCommand, toYaml } from "./spec";

describe("YAML", () => {
  test("what is default or empty is left out", () => {
    expect(compact({ gpus: 4, priority: 0, env: {}, depends_on: [], name: "" })).toEqual({ gpus: 4 });
  });

  test.each([
    ["no", '"no"'],
    ["1e-4", '"1e-4"'],
    ["12h", '"12h"'],
    ["a: b", '"a: b"'],
    ["# x", '"# x"'],
    ["plain text", "plain text"],
    ["/home/ada", "/home/ada"],
    ["", '""'],
  ])("%s is written so that it reads back as text", (text, written) => {
    expect(scalar(text)).toBe(written);
  });

  test("a whole job", () => {
    expect(
      toYaml({ name: "x", command: ["python", "t.py"], gpus: 2, env: { A: "1" }, time_limit: "12h" }),
    ).toBe('name: x\ncommand: [python, t.py]\ngpus: 2\nenv:\n  A: "1"\ntime_limit: "12h"\n');
  });

  test("a script keeps its lines", () => {
    expect(toYaml({ script: "set -e\n\npython t.py\n" })).toBe("script: |\n  set -e\n\n  python t.py\n");
    expect(toYaml({ script: "a\nb" })).toBe("script: |-\n  a\n  b\n");
  });
});

describe("the command line", () => {
  test("a list follows two dashes, a line stays one quoted word", () => {
    expect(toCommand({ command: ["python", "a b.py"], gpus: 1 })).toBe(
      "berth submit --gpus 1 -- python 'a b.py'",
    );
    expect(toCommand({ script: "set -e\npython t.py\n", gpus: 2 })).toBe(
      "berth submit --gpus 2 --script - <<'BERTH'\nset -e\npython t.py\nBERTH",
    );
    expect(toCommand({ command: "X=1 python t.py", labels: { seed: "1" } })).toBe(
      "berth submit --label seed=1 'X=1 python t.py'",
    );
  });
});

test("a job submitted again waits for the same jobs in the same way", () => {
  const job = {
    script: "python t.py",
    script_file: "/home/ada/t.sh",
    depends_on: [7, 8, 9],
    dependencies: [
      { job_id: 7, kind: "afterok" },
      { job_id: 8, kind: "afterany" },
      { job_id: 9, kind: "afternotok" },
    ],
  } as unknown as Parameters<typeof specOf>[0];
  expect(specOf(job)).toMatchObject({
    depends_on: [7, "afterany:8", "afternotok:9"],
    script_file: "/home/ada/t.sh",
  });
});
