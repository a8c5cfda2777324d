import { useQuery } from "@tanstack/react-query";
import { api } from "@/api/endpoints";
import { useJob } from "@/api/queries";
import type { Job } from "@/api/types";
import { Section } from "@/components/Layout";
import { plural } from "@/format/units";
import { filesOf } from "@/model/jobs/diff";
import { FileChange } from "./CodeTab";

const MOST_BYTES = 2_000_000;

/** Frozen files that differ between a job and an earlier one, as far as both were frozen. */
export function CodeDifference({ job, before }: { job: Job; before: number }) {
  const other = useJob(before).data;
  const both = job.snapshot != null && other?.snapshot != null;
  const small = (of: Job | undefined) => (of?.snapshot?.diff_bytes ?? 0) <= MOST_BYTES;
  const read = (of: Job | undefined) => ({
    queryKey: ["job", of?.id, "diff"],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      (of?.snapshot?.diff_bytes ?? 0) === 0 ? Promise.resolve("") : api.diff(of?.id ?? 0, signal),
    enabled: both && small(job) && small(other),
    staleTime: Infinity,
  });
  const [now, then] = [useQuery(read(job)).data, useQuery(read(other)).data];
  if (!both || now === undefined || then === undefined) return null;
  const known = new Map(filesOf(then).map((file) => [file.path, file.lines.join("\n")]));
  const files = filesOf(now);
  const changed = files.filter((file) => known.get(file.path) !== file.lines.join("\n"));
  const gone = [...known.keys()].filter((path) => !files.some((file) => file.path === path));
  if (changed.length === 0 && gone.length === 0) return null;
  return (
    <Section
      title="Code that was changed since"
      note={`${plural(changed.length, "file")}, each against its commit${gone.length ? `; as committed again: ${gone.join(", ")}` : ""}`}
    >
      <div className="flex flex-col gap-2">
        {changed.map((file) => (
          <FileChange key={file.path} file={file} />
        ))}
      </div>
    </Section>
  );
}
