import { Toggle } from "@/components/Button";
import { plural } from "@/format/units";
import { launchesText } from "@/model/submit/launches";
import type { ParsedLaunch } from "@/model/submit/launches";

interface Props {
  launches: readonly ParsedLaunch[];
  /** They are one job, one command after the other. */
  together: boolean;
  onTogether: (together: boolean) => void;
}

/** The commands found in a pasted text, and the choice between a job each and one for all. */
export function Launches({ launches, together, onTogether }: Props) {
  return (
    <section aria-label="Commands found" className="panel mb-3 px-4 py-3 text-sm" data-launches>
      <p className="font-medium">{launchesText(launches)}</p>
      <ol className="mt-2 flex flex-col gap-1.5">
        {launches.map((launch) => (
          <li key={launch.line} className="min-w-0">
            <code className="block truncate text-xs" title={launch.before}>
              {launch.before}
            </code>
            {launch.problem == null ? (
              <span className="text-xs text-muted">
                line {launch.line} · {plural(launch.gpus ?? 1, "GPU")}
                {launch.gpus == null && ", the command does not say how many"} · {launch.launcher}
              </span>
            ) : (
              <span className="text-xs text-bad">
                line {launch.line}: {launch.problem}
              </span>
            )}
          </li>
        ))}
      </ol>
      <div role="group" aria-label="Number of jobs" className="mt-3 flex flex-wrap gap-1.5">
        <Toggle on={!together} onClick={() => onTogether(false)}>
          A job for each
        </Toggle>
        <Toggle on={together} onClick={() => onTogether(true)}>
          One job, one after the other
        </Toggle>
      </div>
    </section>
  );
}
