/** Utilisation of each GPU in the last hour, for the sparklines. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api } from "@/api/endpoints";
import type { Box } from "@/api/types";

export function useGpuHistory(box: Box | undefined): (uuid: string) => readonly (number | null)[] {
  const { data } = useQuery({
    queryKey: ["gpu-history"],
    queryFn: ({ signal }) => api.gpuHistory(60, 60, signal),
    refetchInterval: 30_000,
    enabled: (box?.gpus?.length ?? 0) > 0,
  });
  return useMemo(() => (uuid: string) => data?.gpus[uuid]?.utilization_percent ?? [], [data]);
}
