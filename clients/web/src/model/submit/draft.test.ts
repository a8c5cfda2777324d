import { describe, expect, test } from "vitest";
import { cells, draftOf, EMPTY, specOfDraft, ablationSpecs } from "./draft";

describe("the form", () => {
  test("what is left empty is not sent", () => {
    expect(specOfDraft({ ...EMPTY, command: " python t.py ", gpus: "2" })).toEqual({
      command: "python t.py",
      gpus: 2,
    });
  });

  test("lists are read as people type them", () => {
    const spec = specOfDraft({
      ...EMPTY,
      command: "x",
      env: "A=1\nB=x=y\n",
      labels: "seed=1, ablation=a",
      dependsOn: "#4, 7 afterany:8, afternotok:9 afterok:10",
    });
    expect(spec.env).toEqual({ A: "1", B: "x=y" });
    expect(spec.labels).toEqual({ seed: "1", ablation: "a" });
    expect(spec.depends_on).toEqual([4, 7, "afterany:8", "afternotok:9", 10]);
  });

  test("a job is copied with all that was asked for, but for what is over", () => {
    const job = {
      name: "a",
      command: "x",
      gpus: 2,
      workdir: "/w",
      priority: 0,
      retries: 0,
      grace: "5m",
      preemptible: true,
      notify: ["https://chat.lab/hook"],
      depends_on: [3],
    } as unknown as Parameters<typeof draftOf>[0];
    expect(specOfDraft(draftOf(job))).toMatchObject({
      grace: "5m",
      preemptible: true,
      notify: ["https://chat.lab/hook"],
    });
    expect(specOfDraft(draftOf(job)).depends_on).toBeUndefined();
  });

  test("with nodes the GPUs are those of each", () => {
    const spec = specOfDraft({ ...EMPTY, command: "x", gpus: "8", nodes: "2" });
    expect(spec).toEqual({ command: "x", nodes: 2, gpus_per_node: 8 });
    const job = { name: "a", command: "x", gpus: 16, nodes: 2, workdir: "/w", priority: 0, retries: 0 };
    const copy = specOfDraft(draftOf(job as unknown as Parameters<typeof draftOf>[0]));
    expect([copy.nodes, copy.gpus_per_node, copy.gpus]).toEqual([2, 8, undefined]);
  });

  test.each([
    [{ gpus: "four" }, "GPUs: “four” is not a whole number."],
    [{ env: "NOVALUE" }, "Environment: “NOVALUE” is not NAME=value."],
  ])("%j is refused with a sentence", (fields, sentence) => {
    expect(() => specOfDraft({ ...EMPTY, command: "x", ...fields })).toThrow(sentence);
  });
});

describe("an ablation", () => {
  test("is the product of its axes", () => {
    expect(cells("lr=1e-4,3e-4\nseed=1,2")).toHaveLength(4);
    expect(cells("")).toEqual([]);
    expect(() => cells("lr=")).toThrow("no values");
  });

  test("fills names into command and environment and labels each run", () => {
    const [first] = ablationSpecs(
      { command: "t.py --lr {lr} --x {other}", env: { SEED: "{seed}" }, name: "a" },
      cells("lr=1e-4\nseed=7"),
      "abl",
    );
    expect(first).toMatchObject({
      command: "t.py --lr 1e-4 --x {other}",
      env: { SEED: "7" },
      labels: { ablation: "abl", lr: "1e-4", seed: "7" },
    });
    expect(first?.name).toBe("a lr=1e-4 seed=7");
  });
});
