import type { Attempt, Job } from "@/api/types";
import { CodeBlock } from "@/components/Copy";
import { Section } from "@/components/Layout";
import { commandLine } from "@/model/jobs/job";
import { specOf, toCommand, toYaml } from "@/model/submit/spec";

/** Specification as submitted, command as started, and how to submit it again. */
export function SpecTab({ job, attempt }: { job: Job; attempt: Attempt | undefined }) {
  const spec = specOf(job);
  const launch = attempt?.launch;
  return (
    <div className="grid gap-x-6 xl:grid-cols-2">
      <div className="min-w-0">
        <Section title="As submitted">
          <CodeBlock
            label={job.script == null ? "Command" : "Script"}
            text={job.script ?? commandLine(job)}
          />
        </Section>
        <Section title="As started" note={launch ? `launcher: ${launch.launcher}` : ""}>
          {launch ? (
            <>
              <CodeBlock label="Command as started" text={launch.after} />
              <Changes changes={launch.changes ?? []} />
            </>
          ) : (
            <p className="text-sm text-muted">
              Not started yet. The dry run on the submit page shows what will be changed.
            </p>
          )}
        </Section>
      </div>
      <div className="min-w-0">
        <Section title="Run it again">
          <div className="flex flex-col gap-3">
            <CodeBlock label="Command line" text={toCommand(spec)} />
            <CodeBlock label="job.yaml" text={toYaml(spec)} wrap={false} />
          </div>
          {Object.values(job.env ?? {}).includes("********") && (
            <p className="mt-2 text-xs text-muted">
              Values that look like secrets are masked; enter them again.
            </p>
          )}
        </Section>
        {attempt && (
          <Section title="Run directory">
            <CodeBlock label="Folder on the box" text={attempt.run_dir} />
          </Section>
        )}
      </div>
    </div>
  );
}

/** List of changes between the command as typed and as started, with reasons. */
export function Changes({ changes }: { changes: readonly { what: string; became: string; why: string }[] }) {
  if (changes.length === 0) return <p className="mt-2 text-sm text-muted">No changes were needed.</p>;
  return (
    <ul className="mt-2 flex flex-col gap-2 text-sm">
      {changes.map((change) => (
        <li key={change.what + change.became} className="wrap-anywhere">
          {change.what && (
            <code className="rounded bg-bad-soft px-1 text-xs text-bad line-through">{change.what}</code>
          )}
          {change.what && change.became && " became "}
          {change.became && (
            <code className="rounded bg-good-soft px-1 text-xs text-good">{change.became}</code>
          )}
          <span className="block text-xs text-muted">{change.why}</span>
        </li>
      ))}
    </ul>
  );
}
