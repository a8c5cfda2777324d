import clsx from "clsx";
import { Check } from "lucide-react";
import type { Job } from "@/api/types";
import { absoluteInZone, span, wallClock } from "@/format/duration";
import { useNow } from "@/components/Time";
import { steps } from "@/model/jobs/job";

/** Lifecycle of the job as steps, with the current one marked. */
export function JobSteps({ job }: { job: Job }) {
  const now = useNow();
  const bad = job.state === "failed";
  return (
    <ol aria-label="Job lifecycle" className="mt-3 flex overflow-x-auto">
      {steps(job).map((step, i) => (
        <li
          key={i}
          aria-current={step.status === "now" ? "step" : undefined}
          className="flex min-w-16 flex-1 flex-col gap-1 pr-1 text-xs"
        >
          <span
            aria-hidden
            className={clsx(
              "h-1 rounded-full",
              step.status === "done"
                ? "bg-accent/60"
                : step.status === "now"
                  ? bad
                    ? "bg-bad"
                    : job.state === "succeeded"
                      ? "bg-good"
                      : "bg-accent"
                  : "bg-line",
            )}
          />
          <span
            className={clsx(
              "flex items-center gap-1",
              step.status === "now" ? "font-semibold" : step.status === "todo" ? "text-muted" : "",
            )}
          >
            {step.status === "done" && <Check aria-hidden className="size-3 max-sm:hidden" />}
            {step.name}
          </span>
          {step.at !== undefined && (
            <time
              dateTime={new Date(step.at).toISOString()}
              title={absoluteInZone(step.at)}
              className="tabular text-muted"
            >
              {wallClock(step.at, now)}
            </time>
          )}
          {step.took !== undefined && (
            <span className="tabular text-muted" title={`${step.name} for ${span(step.took / 1000)}`}>
              {span(step.took / 1000)}
            </span>
          )}
        </li>
      ))}
    </ol>
  );
}
