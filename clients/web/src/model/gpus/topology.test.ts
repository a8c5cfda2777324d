import { describe, expect, test } from "vitest";
import type { Gpu } from "@/api/types";
import { islands, memoryParts, named, ranges, otherProcesses } from "./topology";

const gpu = (index: number, fields: Partial<Gpu> = {}): Gpu =>
  ({
    uuid: `GPU-${index}`,
    index,
    name: "H100",
    memory_total_bytes: 80,
    memory_used_bytes: 0,
    numa_node: null,
    holder: { kind: "free", sentence: "" },
    processes: [],
    ...fields,
  }) as Gpu;

describe("islands", () => {
  test("two NUMA halves joined inside by NVLink are two groups", () => {
    const gpus = [0, 1, 2, 3].map((i) => gpu(i, { numa_node: i < 2 ? 0 : 1 }));
    const links = gpus.map((a) =>
      gpus.map((b) => (a === b ? "X" : a.numa_node === b.numa_node ? "NV4" : "SYS")),
    );
    expect(islands({ gpus, links }).map((i) => [i.label, i.gpus.map((g) => g.index)])).toEqual([
      ["NVLink NV4 · NUMA node 0", [0, 1]],
      ["NVLink NV4 · NUMA node 1", [2, 3]],
    ]);
  });

  test("without any link known the box is one unnamed group in index order", () => {
    expect(islands({ gpus: [gpu(1), gpu(0)], links: [] })).toMatchObject([
      { label: "", gpus: [{ index: 0 }, { index: 1 }] },
    ]);
  });

  test("each node of a cluster is a group with its name", () => {
    const gpus = [0, 1, 2, 3].map((i) => gpu(i, { node: i < 2 ? "n1" : "n2", node_index: i % 2 }));
    expect(islands({ gpus, links: [] }).map((i) => [i.label, i.gpus.map((g) => g.index)])).toEqual([
      ["n1", [0, 1]],
      ["n2", [2, 3]],
    ]);
  });

  test("no GPU is lost or drawn twice", () => {
    const gpus = [0, 1, 2, 3, 4].map((i) => gpu(i, { numa_node: i % 2 }));
    const drawn = islands({ gpus, links: [] }).flatMap((i) => i.gpus.map((g) => g.index));
    expect(drawn.sort()).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("memory", () => {
  const held = { kind: "job", attempt: "42.1", sentence: "" } as Gpu["holder"];

  test("memory used by others on a held GPU is counted apart", () => {
    const g = gpu(0, {
      holder: held,
      memory_used_bytes: 50,
      processes: [
        { pid: 1, attempt: "42.1", memory_bytes: 40 },
        { pid: 2, attempt: null, memory_bytes: 7 },
      ] as NonNullable<Gpu["processes"]>,
    });
    expect(memoryParts(g)).toEqual({ own: [43], others: 7, total: 80 });
    expect(otherProcesses(g).map((p) => p.pid)).toEqual([2]);
  });

  test("jobs that share a GPU have their own parts", () => {
    const g = gpu(0, {
      holder: held,
      holders: [held, { ...held, attempt: "43.1" }],
      memory_used_bytes: 50,
      processes: [
        { pid: 1, attempt: "42.1", memory_bytes: 20 },
        { pid: 2, attempt: "43.1", memory_bytes: 18 },
        { pid: 3, attempt: null, memory_bytes: 7 },
      ] as NonNullable<Gpu["processes"]>,
    });
    expect(memoryParts(g)).toEqual({ own: [25, 18], others: 7, total: 80 });
    expect(otherProcesses(g).map((p) => p.pid)).toEqual([3]);
  });

  test("on a GPU without a holder all memory counts as others'", () => {
    expect(memoryParts(gpu(0, { memory_used_bytes: 9 })).others).toBe(9);
  });
});

test("indices are said shortly", () => {
  expect(ranges([0, 1, 2, 3, 6])).toBe("0–3, 6");
  expect(ranges([4, 5])).toBe("4–5");
  expect(ranges([])).toBe("");
  expect(named([3])).toBe("GPU 3");
  expect(named([4, 5])).toBe("GPUs 4–5");
});
