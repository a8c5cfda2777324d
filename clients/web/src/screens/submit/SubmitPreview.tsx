import { useQuery } from "@tanstack/react-query";
import { CircleCheck, Clock3 } from "lucide-react";
import { useState } from "react";
import type { ReactNode } from "react";
import { api } from "@/api/endpoints";
import { ApiError } from "@/api/request";
import type { DryRun, JobSpec } from "@/api/types";
import { CodeBlock } from "@/components/Copy";
import { Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { useNow } from "@/components/Time";
import { ErrorText } from "@/components/Feedback";
import { Message } from "@/components/Message";
import { NineOfTen } from "@/components/ExpectedStart";
import { useSettled } from "@/components/useSettled";
import { WhatIfTable } from "@/components/WhatIfTable";
import { absoluteInZone, parseDuration, wallClock } from "@/format/duration";
import { plural } from "@/format/units";
import { toCommand, toYaml } from "@/model/submit/spec";
import { named } from "@/model/gpus/topology";
import { Changes } from "@/screens/job/SpecTab";

interface Props {
  spec: JobSpec | undefined;
  wrong: string | undefined;
  preview: DryRun | undefined;
  error: unknown;
  pending: boolean;
  runs: number;
  gpusEach: number | undefined;
  /** Buttons, placed below the verdict and above the details. */
  children: ReactNode;
}

/** Dry run of the job, and the same job as YAML and as a command line. */
export function SubmitPreview({ spec, wrong, preview, error, pending, runs, gpusEach, children }: Props) {
  if (wrong)
    return (
      <>
        <p role="alert" className="panel mb-3 border-bad px-4 py-3 text-sm text-bad">
          {wrong}
        </p>
        {children}
      </>
    );
  if (!spec)
    return (
      <>
        <p className="panel mb-3 px-4 py-6 text-center text-sm text-muted">
          Type or paste a command. You will see here when and where it would start, and how it will be
          adjusted.
        </p>
        {children}
      </>
    );
  const limit = typeof spec.time_limit === "string" ? parseDuration(spec.time_limit) : undefined;
  return (
    <div className="min-w-0">
      <Section title="Dry run">
        {error ? (
          <Refusal error={error} />
        ) : pending || !preview ? (
          <Skeleton rows={2} height={28} />
        ) : (
          <>
            {runs > 1 && <p className="mb-1 text-xs text-muted">Of the first of {runs} jobs:</p>}
            <Verdict preview={preview} />
          </>
        )}
        {runs > 1 && gpusEach !== undefined && limit !== undefined && (
          <p className="mt-2 text-sm text-muted">
            {plural(runs, "job")}, at most {(runs * gpusEach * (limit / 3600)).toFixed(1)} GPU-hours in total{" "}
            {spec.share ? ", less for a shared GPU" : ""}.
          </p>
        )}
      </Section>
      {children}
      {preview && !error && preview.gpus > 0 && <WhatIf spec={spec} open={!preview.starts_now} />}
      {preview && !error && (
        <Section title="How it will start" note={`launcher: ${preview.launcher}`}>
          {preview.after != null && (
            <CodeBlock label="Command as started; the port is an example" text={preview.after} />
          )}
          <Changes changes={preview.changes ?? []} />
        </Section>
      )}
      <Section title="Submit without this page">
        <div className="flex flex-col gap-3">
          <CodeBlock label="Command line" text={toCommand(spec)} />
          <CodeBlock label="job.yaml" text={toYaml(spec)} wrap={false} />
        </div>
      </Section>
    </div>
  );
}

/** Starts of variants of this job; asked for while it is open. */
function WhatIf({ spec, open }: { spec: JobSpec; open: boolean }) {
  const [shown, setShown] = useState<boolean>();
  const visible = shown ?? open;
  const asked = useSettled(visible ? JSON.stringify(spec) : "", 300);
  const found = useQuery({
    queryKey: ["what-if", asked],
    queryFn: ({ signal }) => api.whatIf(JSON.parse(asked) as JobSpec, signal),
    enabled: asked !== "",
    refetchInterval: 60_000,
    retry: false,
  });
  return (
    <details
      className="mb-5"
      open={visible}
      onToggle={(event) => setShown((event.target as HTMLDetailsElement).open)}
    >
      <summary className="mb-2 min-h-6 text-sm font-semibold">What if it asked for something else?</summary>
      {found.data ? (
        <WhatIfTable options={found.data.options} />
      ) : (
        visible && !found.isError && <Skeleton rows={3} />
      )}
    </details>
  );
}

function Verdict({ preview }: { preview: DryRun }) {
  const now = useNow();
  const start = preview.expected_start == null ? undefined : Date.parse(preview.expected_start);
  const Icon = preview.starts_now ? CircleCheck : Clock3;
  return (
    <div className="panel px-4 py-3 text-sm" data-dry-run>
      <p className={`flex items-center gap-2 font-medium ${preview.starts_now ? "text-good" : "text-warn"}`}>
        <Icon aria-hidden className="size-4 shrink-0" />
        {preview.starts_now ? (
          preview.gpus === 0 ? (
            "Would start now, without a GPU"
          ) : (
            `Would start now on ${named(preview.gpu_indices ?? [])}`
          )
        ) : start === undefined ? (
          `Would wait${place(preview)}`
        ) : (
          <span>
            Would start{" "}
            <time dateTime={preview.expected_start ?? ""} title={absoluteInZone(start)}>
              about {wallClock(start, now)}
              <NineOfTen at={preview.expected_start_p90} median={start} now={now} />
            </time>
            {place(preview)}
          </span>
        )}
      </p>
      <p className="mt-1">
        Asks for <span className="font-medium">{plural(preview.gpus, "GPU")}</span>.
      </p>
      <p className="mt-1 text-muted">
        <Message parts={preview.summary_parts} text={preview.summary} />
      </p>
      {(preview.warnings ?? []).map((warning, i) => (
        <p key={warning} className="mt-1 text-warn">
          <Message parts={preview.warnings_parts?.[i]} text={warning} />
        </p>
      ))}
    </div>
  );
}

function place(preview: DryRun): string {
  if (preview.position == null || preview.position <= 1) return "";
  return `, behind ${plural(preview.position - 1, "job")}`;
}

/** Reasons for which the submission would be refused, field by field. */
function Refusal({ error }: { error: unknown }) {
  const fields = error instanceof ApiError ? error.furtherFields : [];
  return (
    <div role="status" className="panel border-warn px-4 py-3 text-sm">
      <p className="text-warn">
        <ErrorText error={error} fallback="The dry run failed." />
      </p>
      {fields.length > 0 && (
        <ul className="mt-1 text-muted">
          {fields.map((f) => (
            <li key={f.field}>
              <code>{f.field}</code>: <Message parts={f.problem_parts} text={f.problem} />
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
