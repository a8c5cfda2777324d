/** Jobs beyond their wire format: words, times, allowed actions, steps and colours. */
import type { Attempt, Gpu, Job, JobState, Outcome, Progress } from "@/api/types";
import { parseDuration, relative } from "@/format/duration";
import { named } from "@/model/gpus/topology";

export const FINAL_STATES: ReadonlySet<JobState> = new Set(["succeeded", "failed", "cancelled"]);
export const ACTIVE_STATES: ReadonlySet<JobState> = new Set(["starting", "running", "stopping"]);
export const PENDING_STATES: ReadonlySet<JobState> = new Set(["held", "waiting", "queued"]);

export const OUTCOME_WORDS: Record<Outcome, string> = {
  exit: "exited",
  oom_gpu: "out of GPU memory",
  oom_host: "out of host memory",
  time_limit: "time limit reached",
  stalled: "stalled",
  lost: "supervision lost",
  escaped: "ran on GPUs outside its lease",
  launch_error: "failed to start",
  preempted: "preempted",
  cancelled: "cancelled",
  dependency_failed: "a dependency failed",
  disk_full: "disk full",
  early_stopped: "stopped early",
};

/** The command as one line; a script is shown by its first line. */
export function commandLine(job: Pick<Job, "command" | "script">): string {
  if (Array.isArray(job.command)) return job.command.map(shellQuote).join(" ");
  if (job.command != null) return job.command;
  const lines = (job.script ?? "").split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#!"));
  return `${lines[0] ?? ""}${lines.length > 1 ? " …" : ""}`;
}

/** `word` so that a shell reads it as one word. */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Milliseconds since the epoch, or undefined. */
export function at(time: string | null | undefined): number | undefined {
  return time == null ? undefined : Date.parse(time);
}

/** Begin and end of what the job ran last; without an end it runs. Undefined while it never ran. */
export function lastRun(
  job: Pick<Job, "state" | "started_at" | "ended_at" | "attempts">,
): { from: string; to: string | undefined } | undefined {
  if (job.started_at == null) return undefined;
  if (ACTIVE_STATES.has(job.state)) return { from: job.started_at, to: undefined };
  // A job that is queued again has not ended, but its last attempt has.
  const ended = job.ended_at ?? job.attempts?.findLast((one) => one.ended_at != null)?.ended_at;
  return ended == null ? undefined : { from: job.started_at, to: ended };
}

/** Seconds that the job has run or ran; undefined while it has not. */
export function runSeconds(
  job: Pick<Job, "state" | "started_at" | "ended_at" | "attempts">,
  now: number,
): number | undefined {
  const run = lastRun(job);
  return run && ((at(run.to) ?? now) - Date.parse(run.from)) / 1000;
}

/** End of the running attempt's time limit, ms since the epoch. */
export function limitEnd(job: Pick<Job, "started_at" | "time_limit">): number | undefined {
  const start = at(job.started_at);
  const limit = job.time_limit == null ? undefined : parseDuration(job.time_limit);
  return start === undefined || limit === undefined ? undefined : start + limit * 1000;
}

/** Progress of a job; that of its GPUs' holders is the newer, it comes with each map of the box. */
export function progressOf(job: Job, gpus: readonly Gpu[]): Progress | undefined {
  const holders = gpus.flatMap((gpu) => gpu.holders ?? []);
  const holder = holders.find((each) => each.kind === "job" && each.job_id === job.id);
  return holder?.progress ?? job.progress ?? undefined;
}

export type Verb = "cancel" | "hold" | "release" | "retry";

/** Actions that the job's state allows; the server has the last word. */
export function verbsFor(state: JobState): Verb[] {
  if (state === "held") return ["release", "cancel"];
  if (state === "queued" || state === "waiting") return ["hold", "cancel"];
  if (state === "starting" || state === "running") return ["cancel"];
  if (state === "stopping") return [];
  return ["retry"];
}

/** Time of the last complete checkpoint that the newest attempt reported. */
export function savedAt(job: Pick<Job, "attempts">): string | undefined {
  return job.attempts?.at(-1)?.saved_at ?? undefined;
}

/** Consequence of an action, in one sentence or two. */
export function consequence(
  verb: Verb,
  job: Pick<Job, "id" | "state" | "grace" | "gpu_indices" | "gpus" | "user" | "attempts">,
  now: number,
): string {
  if (verb === "hold") return "It stays out of the queue until it is released. Its settings are kept.";
  if (verb === "release") return "It returns to the queue.";
  if (verb === "retry") return "A new attempt is queued. Logs and records of earlier attempts are kept.";
  if (PENDING_STATES.has(job.state))
    return "It leaves the queue and will not start. It can be retried later.";
  const freed =
    job.gpu_indices && job.gpu_indices.length > 0
      ? ` ${named(job.gpu_indices)} ${job.gpu_indices.length > 1 ? "are" : "is"} free when its processes are gone.`
      : "";
  const saved = at(savedAt(job));
  const since = saved === undefined ? "the last checkpoint" : `the checkpoint ${relative(saved, now)}`;
  return `Its processes get SIGTERM now and SIGKILL after ${job.grace}. Work since ${since} is lost.${freed}`;
}

export interface Step {
  name: string;
  /** When it began, ms since the epoch. */
  at: number | undefined;
  /** How long it took, ms; of the present one undefined. */
  took: number | undefined;
  status: "done" | "now" | "todo";
}

/** Lifecycle of the job as steps, of its last attempt: submitted, queued, starting, running, ended. */
export function steps(job: Job): Step[] {
  const pending = PENDING_STATES.has(job.state);
  const final = FINAL_STATES.has(job.state);
  const attempts = job.attempts ?? [];
  // While it waits again, no step of the attempt that is over is one of this turn.
  const attempt: Attempt | undefined = pending ? undefined : attempts.at(-1);
  const before = pending ? attempts.at(-1) : attempts.at(-2);
  const submitted = at(job.queued_at);
  const queued = at(before?.ended_at) ?? submitted;
  const leased = at(attempt?.created_at);
  const running = at(attempt?.started_at);
  const ended = final ? at(job.ended_at) : undefined;
  const stopping = job.state === "stopping";
  const never = final && leased === undefined;
  const begun: [string, number | undefined][] = [
    ["submitted", submitted],
    [pending ? job.state : "queued", never ? undefined : queued],
    ["starting", leased],
    [stopping ? "stopping" : "running", running],
    [final ? job.state : "ended", ended],
  ];
  const now = final ? 4 : pending ? 1 : job.state === "starting" ? 2 : 3;
  return begun.map(([name, began], i) => {
    const next = begun.slice(i + 1).find(([, one]) => one !== undefined)?.[1];
    const skipped = began === undefined && i < now;
    return {
      name,
      at: began,
      took: i > 0 && i < now && began !== undefined && next !== undefined ? next - began : undefined,
      status: skipped ? "todo" : i < now ? "done" : i === now ? "now" : "todo",
    };
  });
}

/** The same colour for a job wherever it is drawn: hues far apart for neighbouring ids. */
export function jobHue(id: number): number {
  return Math.round((id * 137.508 + 200) % 360);
}

export function jobColor(id: number): string {
  return `oklch(var(--job-l) 0.13 ${jobHue(id)})`;
}
