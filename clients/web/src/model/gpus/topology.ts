/** Topology of the box: GPUs grouped by NVLink and NUMA node, and their processes. */
import type { Box, Gpu, Holder } from "@/api/types";

export interface Island {
  /** "n2", "NVLink NV18 · NUMA node 0"; empty when it is unknown or the box is one group. */
  label: string;
  gpus: Gpu[];
}

/**
 * GPUs of one node of a cluster, of one NUMA node and joined by NVLink lie in one island; islands
 * are in order of their first index. Without links or nodes the whole box is one island.
 */
export function islands(box: Pick<Box, "gpus" | "links">): Island[] {
  const gpus = [...(box.gpus ?? [])].sort((a, b) => a.index - b.index);
  const links = box.links ?? [];
  const anyNvlink = links.some((row) => row.some((link) => link.startsWith("NV")));
  const groups: Gpu[][] = [];
  gpus.forEach((gpu, i) => {
    const home = groups.find((group) => {
      const first = group[0];
      if (!first || (first.node ?? null) !== (gpu.node ?? null)) return false;
      if ((first.numa_node ?? null) !== (gpu.numa_node ?? null)) return false;
      if (!anyNvlink) return true;
      return group.some((other) => links[gpus.indexOf(other)]?.[i]?.startsWith("NV"));
    });
    if (home) home.push(gpu);
    else groups.push([gpu]);
  });
  return groups.map((group) => ({
    label: groups.length > 1 || anyNvlink ? labelOf(group, gpus, links) : "",
    gpus: group,
  }));
}

function labelOf(group: Gpu[], all: Gpu[], links: readonly (readonly string[])[]): string {
  const parts: string[] = [];
  if (group[0]?.node != null) parts.push(group[0].node);
  const names = new Set(
    group
      .flatMap((a) => group.map((b) => links[all.indexOf(a)]?.[all.indexOf(b)] ?? ""))
      .filter((l) => l.startsWith("NV")),
  );
  if (names.size > 0) parts.push(`NVLink ${[...names].sort().join(", ")}`);
  const node = group[0]?.numa_node;
  if (node != null) parts.push(`NUMA node ${node}`);
  return parts.join(" · ");
}

/** The jobs on a GPU, oldest first: several where they share it. */
export function jobsOn(gpu: Gpu): Holder[] {
  const all = gpu.holders?.length ? gpu.holders : [gpu.holder];
  return all.filter((holder) => holder.attempt != null);
}

/** Memory of a GPU in bytes: each holder's own, and all other. */
export function memoryParts(gpu: Gpu): { own: number[]; others: number; total: number } {
  const holders = jobsOn(gpu);
  const processes = gpu.processes ?? [];
  const total = gpu.memory_total_bytes;
  const used = gpu.memory_used_bytes ?? 0;
  if (holders.length === 0) return { own: [], others: used, total };
  const memoryOf = (attempt: string | null | undefined) =>
    processes.filter((p) => p.attempt === attempt).reduce((sum, p) => sum + (p.memory_bytes ?? 0), 0);
  const known = processes.every((p) => p.memory_bytes != null);
  const unleased = known ? otherProcesses(gpu).reduce((sum, p) => sum + (p.memory_bytes ?? 0), 0) : 0;
  const others = Math.min(unleased, used);
  const rest = used - others;
  // The driver's own memory is counted to the first holder.
  const later = holders.slice(1).map((h) => memoryOf(h.attempt));
  const first = Math.max(0, rest - later.reduce((a, b) => a + b, 0));
  return { own: [first, ...later], others, total };
}

/** Processes on a GPU that belong to no holder. */
export function otherProcesses(gpu: Gpu): NonNullable<Gpu["processes"]> {
  const own = new Set(jobsOn(gpu).map((holder) => holder.attempt));
  return (gpu.processes ?? []).filter((p) => !own.has(p.attempt ?? null));
}

/** "GPU 3", "GPUs 0–3, 6": GPUs by their indices, as a sentence names them. */
export function named(indices: readonly number[]): string {
  return `${indices.length === 1 ? "GPU" : "GPUs"} ${ranges(indices)}`;
}

/** "0–3, 6": indices as short as they can be said. */
export function ranges(indices: readonly number[]): string {
  const sorted = [...indices].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; i += 1) {
    const from = sorted[i] ?? 0;
    while (sorted[i + 1] === (sorted[i] ?? 0) + 1) i += 1;
    const to = sorted[i] ?? from;
    parts.push(to === from ? `${from}` : `${from}–${to}`);
  }
  return parts.join(", ");
}
