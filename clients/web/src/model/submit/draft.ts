/** Draft of the submit form: its fields as typed, and the specification they make. */
import type { Job, JobSpec } from "@/api/types";
import { commandLine } from "@/model/jobs/job";

export interface Draft {
  command: string;
  /** Where the script was read from; its $0. */
  scriptFile: string;
  kind: "command" | "script";
  name: string;
  gpus: string;
  /** On a cluster; with it, `gpus` are those of each node. */
  nodes: string;
  gpuMemory: string;
  workdir: string;
  python: string;
  env: string;
  priority: string;
  timeLimit: string;
  grace: string;
  retries: string;
  dependsOn: string;
  /** As a datetime-local field has it, in the browser's own zone. */
  notBefore: string;
  notify: string;
  labels: string;
  hold: boolean;
  onOom: boolean;
  preemptible: boolean;
  share: boolean;
  /** Freeze the code at submit. */
  snapshot: boolean;
}

const DEFAULT_GRACE = "1m";

export const EMPTY: Draft = {
  command: "",
  scriptFile: "",
  kind: "command",
  name: "",
  gpus: "",
  nodes: "",
  gpuMemory: "",
  workdir: "",
  python: "",
  env: "",
  priority: "",
  timeLimit: "",
  grace: "",
  retries: "",
  dependsOn: "",
  notBefore: "",
  notify: "",
  labels: "",
  hold: false,
  onOom: false,
  preemptible: false,
  share: false,
  snapshot: false,
};

/** The specification to send. Throws Error with a sentence when a field is invalid. */
export function specOfDraft(draft: Draft): JobSpec {
  const spec: JobSpec =
    draft.kind === "script" ? { script: draft.command } : { command: draft.command.trim() };
  const text = (value: string) => (value.trim() === "" ? undefined : value.trim());
  const put = <K extends keyof JobSpec>(key: K, value: JobSpec[K] | undefined) => {
    if (value !== undefined) spec[key] = value;
  };
  if (draft.kind === "script") put("script_file", text(draft.scriptFile));
  put("name", text(draft.name));
  put("nodes", whole("Nodes", draft.nodes));
  put(spec.nodes === undefined ? "gpus" : "gpus_per_node", whole("GPUs", draft.gpus));
  put("gpu_memory", text(draft.gpuMemory));
  put("workdir", text(draft.workdir));
  put("python", text(draft.python));
  put("priority", whole("Priority", draft.priority));
  put("time_limit", text(draft.timeLimit));
  put("grace", text(draft.grace));
  put("retries", whole("Retries", draft.retries));
  const env = pairs("Environment", draft.env.split("\n"));
  if (Object.keys(env).length > 0) spec.env = env;
  const labels = pairs("Labels", draft.labels.split(/[,\n]/));
  if (Object.keys(labels).length > 0) spec.labels = labels;
  const jobs = draft.dependsOn.split(/[\s,]+/).filter(Boolean);
  if (jobs.length > 0) spec.depends_on = jobs.map(dependency);
  if (draft.notBefore !== "") spec.not_before = new Date(draft.notBefore).toISOString();
  const addresses = draft.notify.split(/\s+/).filter(Boolean);
  if (addresses.length > 0) spec.notify = addresses;
  if (draft.preemptible) spec.preemptible = true;
  if (draft.share) spec.share = true;
  if (draft.snapshot) spec.snapshot = true;
  if (draft.hold) spec.hold = true;
  if (draft.onOom) spec.on_oom = { steps: ["halve_micro_batch", "checkpointing", "offload"] };
  return spec;
}

/** A job's number, or one with its kind: afterany:41. */
function dependency(written: string): number | string {
  const [, kind, id] = /^(?:afterok:|(afterany:|afternotok:))?#?(.*)$/.exec(written) ?? [];
  const number = whole("Start after", id ?? written) ?? 0;
  return kind === undefined ? number : `${kind}${number}`;
}

function whole(field: string, value: string): number | undefined {
  if (value.trim() === "") return undefined;
  if (!/^-?\d+$/.test(value.trim())) throw new Error(`${field}: “${value}” is not a whole number.`);
  return Number(value);
}

function pairs(field: string, lines: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of lines) {
    if (line.trim() === "") continue;
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`${field}: “${line.trim()}” is not NAME=value.`);
    found[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return found;
}

/** The form filled with another job's specification; stars stand where a secret was. */
export function draftOf(job: Job): Draft {
  return {
    ...EMPTY,
    kind: job.script == null ? "command" : "script",
    command: job.script ?? commandLine(job),
    scriptFile: job.script_file ?? "",
    name: job.name,
    gpus: String(job.gpus / (job.nodes ?? 1)),
    nodes: job.nodes == null ? "" : String(job.nodes),
    gpuMemory: job.gpu_memory == null ? "" : String(job.gpu_memory),
    workdir: job.workdir,
    python: job.python ?? "",
    env: Object.entries(job.env ?? {})
      .map(([k, v]) => `${k}=${v}`)
      .join("\n"),
    priority: job.priority === 0 ? "" : String(job.priority),
    timeLimit: job.time_limit ?? "",
    grace: job.grace === DEFAULT_GRACE ? "" : (job.grace ?? ""),
    notify: (job.notify ?? []).join("\n"),
    preemptible: job.preemptible ?? false,
    share: job.share ?? false,
    snapshot: job.snapshot != null,
    retries: job.retries === 0 ? "" : String(job.retries),
    labels: Object.entries(job.labels ?? {})
      .map(([k, v]) => `${k}=${v}`)
      .join(", "),
    onOom: (job.on_oom?.steps ?? []).length > 0,
  };
}

/**
 * The cells of an ablation: "lr=1e-4,3e-4" and "seed=1,2" make four sets of values. An empty list
 * without any axis. Throws Error with a sentence when a line makes no sense.
 */
export function cells(axes: string): Record<string, string>[] {
  let all: Record<string, string>[] = [{}];
  for (const line of axes.split("\n")) {
    if (line.trim() === "") continue;
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`“${line.trim()}” is not NAME=value,value.`);
    const name = line.slice(0, at).trim();
    const values = line
      .slice(at + 1)
      .split(",")
      .map((v) => v.trim())
      .filter(Boolean);
    if (values.length === 0) throw new Error(`${name} has no values.`);
    all = all.flatMap((cell) => values.map((value) => ({ ...cell, [name]: value })));
  }
  return all.length === 1 && Object.keys(all[0] ?? {}).length === 0 ? [] : all;
}

/** One specification per cell: {name} in command and environment is replaced, labels say which is which. */
export function ablationSpecs(spec: JobSpec, axes: Record<string, string>[], group: string): JobSpec[] {
  return axes.map((cell) => {
    const fill = (text: string) =>
      text.replace(/\{(\w+)\}/g, (placeholder, name: string) => cell[name] ?? placeholder);
    const suffix = Object.entries(cell)
      .map(([k, v]) => `${k}=${v}`)
      .join(" ");
    return {
      ...spec,
      name: `${spec.name ?? group} ${suffix}`.slice(0, 200),
      ...(typeof spec.command === "string" ? { command: fill(spec.command) } : {}),
      ...(spec.script == null ? {} : { script: fill(spec.script) }),
      env: Object.fromEntries(Object.entries(spec.env ?? {}).map(([k, v]) => [k, fill(v)])),
      labels: { ...spec.labels, ablation: group, ...cell },
    };
  });
}
