/** What keeps jobs off other GPUs, in a sentence. */
import type { Box } from "@/api/types";

const SENTENCES = {
  namespace: "In force: the other GPUs' device files are masked for every job.",
  cgroup: "In force: a device controller refuses every job the other GPUs.",
  advisory:
    "Advisory only: jobs are told their GPUs, and a job that leaves them is stopped. Run the worker as root, or allow unprivileged user namespaces, for a fence that masks the others.",
};

/** Nobody has to be kept off GPUs that are simulated. */
export function fenceSentence(box: Pick<Box, "fence" | "source"> | undefined): string {
  if (box?.source === "simulated") return "None is needed: the GPUs are simulated.";
  return box?.fence ? SENTENCES[box.fence] : "Not known until the worker reports.";
}
