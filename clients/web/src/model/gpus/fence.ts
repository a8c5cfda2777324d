/** Fence of the box, described in a sentence. */
import type { Box } from "@/api/types";

const SENTENCES = {
  namespace: "In force: the other GPUs' device files are masked for every job.",
  cgroup: "In force: a device controller denies every job access to the other GPUs.",
  advisory:
    "Advisory only: CUDA_VISIBLE_DEVICES names each job's GPUs, and a job that uses others is stopped. To mask the other GPUs, run the worker as root or allow unprivileged user namespaces.",
};

/** Simulated GPUs need no fence. */
export function fenceSentence(box: Pick<Box, "fence" | "source"> | undefined): string {
  if (box?.source === "simulated") return "Not needed: the GPUs are simulated.";
  return box?.fence ? SENTENCES[box.fence] : "Unknown until the worker reports.";
}
