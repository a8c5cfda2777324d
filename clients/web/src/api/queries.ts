/** Queries that screens use. The event stream keeps them fresh; without it they poll every five seconds. */
import { keepPreviousData, QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import { liveState, useLive } from "@/live/live";
import { extended, isCrowded } from "@/model/runs/curves";
import type { Range } from "@/model/runs/curves";
import { api } from "./endpoints";
import type { JobFilter, PlanTrial } from "./endpoints";
import { ApiError } from "./request";
import type { RunCurves } from "./types";

const POLL_MS = 5_000;
export const PENDING = ["queued", "waiting", "held"] as const;
export const ACTIVE = ["starting", "running", "stopping"] as const;
export const FINAL = ["succeeded", "failed", "cancelled"] as const;

/** Poll only while the stream is down. */
const whenStreamIsDown = () => (liveState().phase === "down" ? POLL_MS : false);

export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        // What the browser says of its network is no word about this server: it may be at the
        // other end of a tunnel on a laptop without any.
        networkMode: "always",
        staleTime: 60_000,
        refetchOnWindowFocus: false,
        refetchInterval: whenStreamIsDown,
        retry: (failures, error) =>
          failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
        retryDelay: 400,
      },
      mutations: { networkMode: "always" },
    },
  });
}

export function useMe() {
  return useQuery({ queryKey: ["me"], queryFn: ({ signal }) => api.me(signal), staleTime: Infinity });
}

export function useBox() {
  const { phase, pushesBox } = useLive();
  return useQuery({
    queryKey: ["box"],
    queryFn: ({ signal }) => api.box(signal),
    refetchInterval: phase === "live" && pushesBox ? false : phase === "live" ? 2_000 : POLL_MS,
  });
}

export function useJobs(filter: JobFilter) {
  return useQuery({
    queryKey: ["jobs", filter],
    queryFn: ({ signal }) => api.jobs(filter, signal),
    placeholderData: keepPreviousData,
  });
}

/** The head of the queue, in the scheduler's order. */
export function useQueue(limit: number) {
  return useQuery({
    queryKey: ["jobs", "queue", limit],
    queryFn: ({ signal }) => api.queue(limit, signal),
    placeholderData: keepPreviousData,
  });
}

export function useRunning() {
  return useJobs({ state: ACTIVE, limit: 200 });
}

export function useCounts() {
  return useQuery({ queryKey: ["counts"], queryFn: ({ signal }) => api.counts(signal) });
}

export function useJob(id: number) {
  return useQuery({ queryKey: ["job", id], queryFn: ({ signal }) => api.job(id, signal) });
}

/** Explanation of a job's state; compared with `against`, or with the job just ahead. */
export function useExplanation(id: number, against?: number) {
  return useQuery({
    queryKey: ["explain", id, against ?? null],
    queryFn: ({ signal }) => api.explain(id, against, signal),
    placeholderData: (before) => (before?.job_id === id ? before : undefined),
  });
}

/**
 * The curves of a run; while it grows only what is new is asked for. `range`: all of that part,
 * again for each one.
 */
export function useCurves(
  id: number,
  options: { attempt?: number; points?: number; growing?: boolean; byTime?: boolean; range?: Range } = {},
) {
  const { attempt, points = 500, growing = false, byTime = false, range } = options;
  const client = useQueryClient();
  const queryKey = ["curves", id, attempt ?? null, points, byTime, range ?? null];
  return useQuery({
    queryKey,
    queryFn: async ({ signal }) => {
      const before = client.getQueryData<RunCurves>(queryKey);
      const goOn = before && !range && !isCrowded(before, points);
      const found = await api.curves(
        id,
        {
          points,
          ...(attempt === undefined ? {} : { attempt }),
          ...(byTime ? { by: "time" as const } : {}),
          ...(range ? { from: range[0], to: range[1] } : {}),
          ...(goOn ? { after: before.after } : {}),
        },
        signal,
      );
      return before && !found.whole ? extended(before, found) : found;
    },
    refetchInterval: growing ? 3_000 : false,
    placeholderData: keepPreviousData,
  });
}

export function useEvents(query: { limit: number; job?: number }) {
  return useQuery({
    queryKey: ["events", query],
    queryFn: ({ signal }) => api.events({ ...query, order: "newest" }, signal),
    placeholderData: keepPreviousData,
  });
}

/** The berth plan, `hours` back and ahead; with `trial` as a dry run. */
export function usePlan(hours: number, trial?: PlanTrial) {
  return useQuery({
    queryKey: ["plan", hours, trial ?? null],
    queryFn: ({ signal }) => api.plan({ back: hours, ahead: hours }, trial, signal),
    retry: trial ? false : 2,
    refetchInterval: 30_000,
    placeholderData: keepPreviousData,
  });
}

export function useUsers() {
  return useQuery({ queryKey: ["users"], queryFn: ({ signal }) => api.users(signal) });
}

export function useAblations() {
  return useQuery({ queryKey: ["ablations"], queryFn: ({ signal }) => api.ablations(signal) });
}

export function useAblation(id: string | undefined) {
  return useQuery({
    queryKey: ["ablation", id],
    queryFn: ({ signal }) => api.ablation(id ?? "", signal),
    enabled: id !== undefined,
  });
}

export function useSettings() {
  return useQuery({ queryKey: ["settings"], queryFn: ({ signal }) => api.settings(signal) });
}

export function useTokens() {
  return useQuery({ queryKey: ["tokens"], queryFn: ({ signal }) => api.tokens(signal) });
}
