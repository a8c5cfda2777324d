/** Columns of the jobs list: what can be shown, and by what the server sorts it. */

export interface ColumnKind {
  name: string;
  title: string;
  /** Name of the server's order; absent: it does not sort by it. */
  sort?: string;
  /** Greatest first with the first press. */
  firstDown?: boolean;
  right?: boolean;
  about?: string;
}

/** All of them, in the order of the table. The job itself always stands first. */
export const COLUMNS: readonly ColumnKind[] = [
  { name: "job", title: "Job", sort: "name", about: "Sorts by name; Submitted sorts by number" },
  { name: "state", title: "State", sort: "state" },
  { name: "user", title: "User", sort: "user" },
  { name: "gpus", title: "GPUs", sort: "gpus", firstDown: true },
  { name: "labels", title: "Labels" },
  { name: "priority", title: "Priority", sort: "priority", firstDown: true, right: true },
  { name: "submitted", title: "Submitted", sort: "id", firstDown: true },
  { name: "ran", title: "Ran", sort: "ran", firstDown: true, right: true },
  { name: "ended", title: "Ended", sort: "ended", firstDown: true },
  { name: "reason", title: "Reason", sort: "outcome", about: "Why it waits, or why it ended" },
  { name: "progress", title: "Progress", right: true },
  {
    name: "gpu_hours",
    title: "GPU-hours",
    sort: "gpu_hours",
    firstDown: true,
    right: true,
    about: "GPUs held, times the hours",
  },
  {
    name: "idle",
    title: "Idle",
    sort: "idle",
    firstDown: true,
    right: true,
    about: "GPU time below 5 % utilisation",
  },
  { name: "energy", title: "Energy", sort: "energy", firstDown: true, right: true },
  { name: "limit", title: "Time limit", right: true },
  { name: "command", title: "Command" },
];
export const USUAL: readonly string[] = [
  "job",
  "state",
  "user",
  "gpus",
  "labels",
  "submitted",
  "ran",
  "command",
];

/** Orders that a phone offers, where the table has no heads. */
export const ORDERS: readonly { sort: string; title: string }[] = [
  { sort: "", title: "Newest first" },
  { sort: "id", title: "Oldest first" },
  { sort: "name", title: "Name" },
  { sort: "user", title: "User" },
  { sort: "state", title: "State" },
  { sort: "-gpus", title: "Most GPUs" },
  { sort: "-ran", title: "Ran longest" },
  { sort: "-ended", title: "Ended last" },
  { sort: "-gpu_hours", title: "Most GPU-hours" },
  { sort: "-idle", title: "Most idle" },
];
