import {
  Ban,
  CircleCheck,
  CircleDashed,
  CircleDot,
  CirclePause,
  CirclePlay,
  CircleX,
  Clock3,
  Hourglass,
} from "lucide-react";
import type { LucideIcon } from "lucide-react";
import clsx from "clsx";
import type { Job, JobState } from "@/api/types";
import { OUTCOME_WORDS } from "@/model/jobs/job";
import { troubleText } from "@/model/runs/curves";

const LOOKS: Record<JobState, { icon: LucideIcon; look: string }> = {
  held: { icon: CirclePause, look: "bg-violet-soft text-violet" },
  waiting: { icon: Clock3, look: "bg-sunken text-muted" },
  queued: { icon: Hourglass, look: "bg-sunken text-ink" },
  starting: { icon: CirclePlay, look: "bg-accent-soft text-accent" },
  running: { icon: CircleDot, look: "bg-accent-soft text-accent" },
  stopping: { icon: CircleDashed, look: "bg-warn-soft text-warn" },
  succeeded: { icon: CircleCheck, look: "bg-good-soft text-good" },
  failed: { icon: CircleX, look: "bg-bad-soft text-bad" },
  cancelled: { icon: Ban, look: "bg-sunken text-muted" },
};

/** Badge of a job's state: icon, word and colour, and the outcome where it says more. */
export function StateBadge({ job }: { job: Pick<Job, "state" | "outcome" | "trouble"> }) {
  const { icon: Icon, look } = LOOKS[job.state];
  const why =
    job.outcome && job.outcome !== "exit" && job.outcome !== "cancelled"
      ? OUTCOME_WORDS[job.outcome]
      : undefined;
  return (
    <span className="inline-flex max-w-full items-center gap-1.5">
      <span
        className={clsx(
          "inline-flex items-center gap-1 rounded px-1.5 py-0.5 text-xs font-medium whitespace-nowrap",
          look,
        )}
      >
        <Icon aria-hidden className="size-3.5 shrink-0" strokeWidth={2.25} />
        {job.state}
      </span>
      {why && <span className="truncate text-xs text-muted">{why}</span>}
      {job.trouble && (
        <span className="truncate text-xs font-medium text-bad" title={job.trouble.sentence}>
          {job.trouble.metric} {troubleText(job.trouble)}
        </span>
      )}
    </span>
  );
}

export function JobDot({ color }: { color: string }) {
  return (
    <span aria-hidden className="inline-block size-2.5 shrink-0 rounded-sm" style={{ background: color }} />
  );
}
