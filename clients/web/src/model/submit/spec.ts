/** A job's specification as YAML and as a command line, both to be used as they stand. */
import type { Job, JobSpec } from "@/api/types";
import { shellQuote } from "@/model/jobs/job";

const DEFAULTS: Partial<Record<keyof JobSpec, unknown>> = {
  priority: 0,
  grace: "1m",
  warn_before: "1m",
  retries: 0,
  on_stall: "warn",
  preemptible: false,
  share: false,
  snapshot: false,
  hold: false,
};

/** Specification that makes `job` again, without what Berth fills in by itself. */
export function specOf(job: Job): JobSpec {
  const spec: JobSpec = { name: job.name, gpus: job.gpus, workdir: job.workdir };
  if (job.script != null) {
    spec.script = job.script;
    if (job.script_file != null) spec.script_file = job.script_file;
  } else spec.command = job.command ?? null;
  const rest = {
    nodes: job.nodes,
    gpu_memory: job.gpu_memory,
    python: job.python,
    priority: job.priority,
    time_limit: job.time_limit,
    grace: job.grace,
    warn_before: job.warn_before,
    retries: job.retries,
    on_oom: job.on_oom,
    on_stall: job.on_stall,
    depends_on: dependenciesOf(job),
    labels: job.labels,
    env: job.env,
    preemptible: job.preemptible,
    share: job.share,
    snapshot: job.snapshot != null,
    notify: job.notify,
  };
  return { ...spec, ...(compact(rest) as Partial<JobSpec>) };
}

function dependenciesOf(job: Job): JobSpec["depends_on"] {
  return (job.dependencies ?? []).map(({ job_id, kind }) =>
    kind === undefined || kind === "afterok" ? job_id : `${kind}:${job_id}`,
  );
}

/** Without absent, empty and default members. */
export function compact<T extends object>(spec: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(spec).filter(([name, value]) => {
      if (value === null || value === undefined || value === "") return false;
      if (typeof value === "object" && Object.keys(value as object).length === 0) return false;
      return DEFAULTS[name as keyof JobSpec] !== value;
    }),
  ) as Partial<T>;
}

/** The specification as YAML that `berth submit job.yaml` reads. */
export function toYaml(spec: JobSpec): string {
  return Object.entries(compact(spec))
    .map(([name, value]) => entry(name, value, ""))
    .join("");
}

function entry(name: string, value: unknown, indent: string): string {
  const key = `${indent}${scalar(name)}:`;
  if (Array.isArray(value)) return `${key} [${value.map(scalar).join(", ")}]\n`;
  if (typeof value === "object" && value !== null) {
    return `${key}\n${Object.entries(value)
      .map(([k, v]) => entry(k, v, `${indent}  `))
      .join("")}`;
  }
  if (typeof value === "string" && value.includes("\n")) {
    const body = value.replace(/\n+$/, "");
    if (!/[^\n\P{C}]/u.test(body) && !body.startsWith(" ")) {
      return `${key} ${value.endsWith("\n") ? "|" : "|-"}\n${body
        .split("\n")
        .map((line) => (line === "" ? "" : `${indent}  ${line}`))
        .join("\n")}\n`;
    }
  }
  return `${key} ${scalar(value)}\n`;
}

/** One YAML scalar; whatever could be read as something else than text is quoted. */
export function scalar(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = String(value);
  const plain =
    /^[A-Za-z_/][\w/.@ +=%-]*$/.test(text) &&
    !/^(y|n|yes|no|true|false|on|off|null|~)$/i.test(text) &&
    !text.endsWith(" ") &&
    !text.includes(" #");
  return plain ? text : JSON.stringify(text);
}

/** The same as a `berth submit` line. */
export function toCommand(spec: JobSpec): string {
  const words = ["berth", "submit"];
  const option = (flag: string, value: unknown) => {
    if (value !== null && value !== undefined && value !== "") words.push(flag, shellQuote(String(value)));
  };
  const given = compact(spec);
  option("--name", given.name);
  option("--gpus", given.gpus);
  option("--nodes", given.nodes);
  option("--gpus-per-node", given.gpus_per_node);
  option("--gpu-memory", given.gpu_memory);
  option("--workdir", given.workdir);
  option("--python", given.python);
  option("--priority", given.priority);
  option("--time-limit", given.time_limit);
  option("--grace", given.grace);
  option("--warn-before", given.warn_before);
  option("--retries", given.retries);
  option("--on-oom", given.on_oom?.steps?.join(","));
  option("--on-stall", given.on_stall);
  for (const [key, value] of Object.entries(given.env ?? {})) option("--env", `${key}=${value}`);
  for (const id of given.depends_on ?? []) option("--depends-on", id);
  for (const [key, value] of Object.entries(given.labels ?? {})) option("--label", `${key}=${value}`);
  for (const url of given.notify ?? []) option("--notify", url);
  if (given.preemptible) words.push("--preemptible");
  if (given.share) words.push("--share");
  if (given.snapshot) words.push("--snapshot");
  if (given.hold) words.push("--hold");
  if (given.script != null)
    return `${[...words, "--script", "-"].join(" ")} <<'BERTH'\n${given.script.replace(/\n*$/, "")}\nBERTH`;
  if (Array.isArray(given.command)) words.push("--", ...given.command.map(shellQuote));
  else words.push(shellQuote(given.command ?? ""));
  return words.join(" ");
}
