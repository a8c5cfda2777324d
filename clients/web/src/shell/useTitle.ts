/** Title and icon of the tab: where it is, and of a job its state and how far it is. */
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { api } from "@/api/endpoints";
import { useBox } from "@/api/queries";
import type { Job } from "@/api/types";
import failed from "@/icons/failed.svg?no-inline";
import running from "@/icons/running.svg?no-inline";
import succeeded from "@/icons/succeeded.svg?no-inline";
import { progressOf } from "@/model/jobs/job";
import { iconOf, titleOf } from "@/model/tab";

const ICONS = { running, succeeded, failed };

export function useTitle(path: string): void {
  const id = Number(/^\/jobs\/(\d+)/.exec(path)?.[1] ?? Number.NaN);
  const job = useQuery({
    queryKey: ["job", id],
    queryFn: ({ signal }) => api.job(id, signal),
    enabled: Number.isInteger(id),
  }).data as Job | undefined;
  const gpus = useBox().data?.gpus ?? [];
  const progress = job && progressOf(job, gpus);
  const title = titleOf(path, job, progress?.fraction);
  const icon = iconOf(job);
  useEffect(() => {
    document.title = title;
  }, [title]);
  useEffect(() => {
    const link = document.querySelector<HTMLLinkElement>("link[rel='icon']");
    if (!link) return;
    const before = link.href;
    if (icon !== undefined) link.href = ICONS[icon];
    return () => {
      link.href = before;
    };
  }, [icon]);
}
