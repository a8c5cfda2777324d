/** The last hour of each GPU's utilisation, for the sparklines. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { request } from "@/api/request";
import type { Box } from "@/api/types";

export interface GpuHistory {
  times: string[];
  gpus: Record<string, Record<string, (number | null)[]>>;
}

export function useGpuHistory(box: Box | undefined): (uuid: string) => readonly (number | null)[] {
  const query = useQuery({
    queryKey: ["gpu-history"],
    queryFn: ({ signal }) => request<GpuHistory>("GET", "/gpus/history", { query: { minutes: 60, points: 60 }, signal }),
    refetchInterval: 30_000,
    enabled: (box?.gpus?.length ?? 0) > 0,
    retry: false,
  });
  const data = query.data;
  return useMemo(() => (uuid: string) => data?.gpus[uuid]?.["utilization_percent"] ?? [], [data]);
}
