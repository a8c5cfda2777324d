/** Client of the REST interface: one function per call. */
import { request } from "./request";
import type * as T from "./types";

export interface JobFilter {
  state?: readonly string[];
  user?: string;
  label?: readonly string[];
  /** Part of a name, a command or a number. */
  q?: string;
  limit?: number;
  cursor?: string;
  /** Column and direction; without them the newest come first. */
  sort?: string;
  order?: "asc" | "desc";
}

/** What is asked for of a run's curves; `from` and `to` are steps, or unix seconds with `by` "time". */
export interface CurveQuery {
  attempt?: number;
  points?: number;
  name?: readonly string[];
  from?: number;
  to?: number;
  by?: "step" | "time";
  /** `after` of an earlier answer: only what is new comes. */
  after?: string;
}

/** A waiting job with another number of GPUs or another time limit ("none" for none), as a dry run. */
export interface PlanTrial {
  job: number;
  gpus?: number;
  time_limit?: string;
}

type Signal = AbortSignal | undefined;
const withSignal = (signal: Signal) => (signal ? { signal } : {});

export const api = {
  me: (signal?: AbortSignal) => request<T.Me>("GET", "/me", withSignal(signal)),
  box: (signal?: AbortSignal) => request<T.Box>("GET", "/gpus", withSignal(signal)),
  jobs: (filter: JobFilter, signal?: AbortSignal) =>
    request<T.JobPage>("GET", "/jobs", { query: { ...filter }, ...withSignal(signal) }),
  queue: (limit: number, signal?: AbortSignal) =>
    request<T.JobPage>("GET", "/queue", { query: { limit }, ...withSignal(signal) }),
  counts: (signal?: AbortSignal) => request<T.JobCounts>("GET", "/jobs/counts", withSignal(signal)),
  job: (id: number, signal?: AbortSignal) => request<T.Job>("GET", `/jobs/${id}`, withSignal(signal)),
  explain: (id: number, against: number | undefined, signal?: AbortSignal) =>
    request<T.Explanation>("GET", `/jobs/${id}/explain`, { query: { against }, ...withSignal(signal) }),
  diff: (id: number, signal?: AbortSignal) =>
    request<string>("GET", `/jobs/${id}/snapshot/diff`, { text: true, ...withSignal(signal) }),
  curves: (id: number, query: CurveQuery, signal?: AbortSignal) =>
    request<T.RunCurves>("GET", `/jobs/${id}/curves`, { query: { ...query }, ...withSignal(signal) }),
  plan: (hours: { back: number; ahead: number }, trial?: PlanTrial, signal?: AbortSignal) =>
    request<T.BoxPlan>("GET", "/plan", { query: { ...hours, ...trial }, ...withSignal(signal) }),
  parse: (text: string, signal?: AbortSignal) =>
    request<T.ParsedText>("POST", "/jobs/parse", { body: { text }, ...withSignal(signal) }),
  logLines: (id: number, query: { from: number; count: number; attempt?: number }, signal?: AbortSignal) =>
    request<T.LogLines>("GET", `/jobs/${id}/log/lines`, {
      query: { ...query, as_shown: true, times: true },
      ...withSignal(signal),
    }),
  logSearch: (
    id: number,
    query: { q: string; regex: boolean; limit: number; attempt?: number; cursor?: string },
    signal?: AbortSignal,
  ) => request<T.LogMatches>("GET", `/jobs/${id}/log/search`, { query, ...withSignal(signal) }),
  logMarkers: (id: number, attempt: number | undefined, signal?: AbortSignal) =>
    request<T.LogMarkers>("GET", `/jobs/${id}/log/markers`, { query: { attempt }, ...withSignal(signal) }),
  files: (id: number, attempt: number | undefined, signal?: AbortSignal) =>
    request<T.RunFiles>("GET", `/jobs/${id}/files`, { query: { attempt }, ...withSignal(signal) }),
  failure: (id: number, attempt: number | undefined, signal?: AbortSignal) =>
    request<T.FailureReport>("GET", `/jobs/${id}/failure`, { query: { attempt }, ...withSignal(signal) }),
  runFile: (id: number, attempt: number, name: string, signal?: AbortSignal) =>
    request<string>("GET", runFilePath(id, attempt, name), { text: true, ...withSignal(signal) }),
  gpuHistory: (minutes: number, points: number, signal?: AbortSignal) =>
    request<T.GpuHistory>("GET", "/gpus/history", { query: { minutes, points }, ...withSignal(signal) }),
  jobGpuHistory: (id: number, attempt: number, lastSeconds: number | undefined, signal?: AbortSignal) =>
    request<T.GpuHistory>("GET", `/jobs/${id}/gpu-history`, {
      query: { attempt, points: 600, last_s: lastSeconds },
      ...withSignal(signal),
    }),
  submit: (spec: T.JobSpec, key: string) =>
    request<T.Job>("POST", "/jobs", { body: spec, headers: { "Idempotency-Key": key } }),
  dryRun: (spec: T.JobSpec, signal?: AbortSignal) =>
    request<T.DryRun>("POST", "/jobs/dry-run", { body: spec, ...withSignal(signal) }),
  whatIf: (spec: T.JobSpec, signal?: AbortSignal) =>
    request<T.WhatIf>("POST", "/jobs/what-if", { body: spec, ...withSignal(signal) }),
  whatIfOf: (id: number, signal?: AbortSignal) =>
    request<T.WhatIf>("GET", `/jobs/${id}/what-if`, withSignal(signal)),
  act: (id: number, verb: "cancel" | "hold" | "release" | "retry") =>
    request<T.Job>("POST", `/jobs/${id}/${verb}`),
  patch: (id: number, patch: T.JobPatch) => request<T.Job>("PATCH", `/jobs/${id}`, { body: patch }),
  drain: (uuid: string, reason: string | null, until: string | null) =>
    request<T.Gpu>("POST", `/gpus/${encodeURIComponent(uuid)}/drain`, { body: { reason, until } }),
  undrain: (uuid: string) => request<T.Gpu>("POST", `/gpus/${encodeURIComponent(uuid)}/undrain`),
  reserve: (wish: T.ReservationRequest) => request<T.Reservation>("POST", "/reservations", { body: wish }),
  unreserve: (id: number) => request<T.Reservation>("DELETE", `/reservations/${id}`),
  events: (query: { after?: number; limit?: number; job?: number; order?: "newest" }, signal?: AbortSignal) =>
    request<T.EventPage>("GET", "/events", { query, ...withSignal(signal) }),
  ablations: (signal?: AbortSignal) => request<T.AblationList>("GET", "/ablations", withSignal(signal)),
  rerun: (id: string, which: "failed" | "cancelled" | "all") =>
    request<unknown>("POST", `/ablations/${encodeURIComponent(id)}/rerun`, { body: { which } }),
  ablation: (id: string, signal?: AbortSignal) =>
    request<T.Ablation>("GET", `/ablations/${encodeURIComponent(id)}`, withSignal(signal)),
  users: (signal?: AbortSignal) => request<T.UserList>("GET", "/users", withSignal(signal)),
  waste: (query: { days: number; user?: string }, signal?: AbortSignal) =>
    request<T.WasteReport>("GET", "/waste", { query, ...withSignal(signal) }),
  settings: (signal?: AbortSignal) => request<T.ServerSettings>("GET", "/settings", withSignal(signal)),
  tokens: (signal?: AbortSignal) => request<T.TokenList>("GET", "/tokens", withSignal(signal)),
  createToken: (name: string, expiresIn: string | null) =>
    request<T.NewToken>("POST", "/tokens", { body: { name, expires_in: expiresIn } }),
  deleteToken: (id: number) => request<undefined>("DELETE", `/tokens/${id}`),
};

/** Address of a job's frozen code: all of it as a tar, or how it differed from its commit. */
export function snapshotUrl(id: number, what: "archive" | "diff"): string {
  return `/api/v1/jobs/${id}/snapshot/${what}`;
}

function runFilePath(id: number, attempt: number, name: string): string {
  const path = name.split("/").map(encodeURIComponent).join("/");
  return `/jobs/${id}/files/${path}?attempt=${attempt}`;
}

/** Address of a file that a job wrote into its run directory. */
export function runFileUrl(id: number, attempt: number, name: string): string {
  return `/api/v1${runFilePath(id, attempt, name)}`;
}

/** Address of the waste report's lines as CSV. */
export function wasteUrl(days: number, user: string | undefined): string {
  const of = user === undefined ? "" : `&user=${encodeURIComponent(user)}`;
  return `/api/v1/waste/csv?days=${days}${of}`;
}

/** Address of the raw bytes of a log, for downloads. */
export function logUrl(id: number, attempt: number | undefined): string {
  return `/api/v1/jobs/${id}/log/download${attempt === undefined ? "" : `?attempt=${attempt}`}`;
}
