import { useQuery } from "@tanstack/react-query";
import clsx from "clsx";
import { Download } from "lucide-react";
import { api, snapshotUrl } from "@/api/endpoints";
import { useMe } from "@/api/queries";
import type { CodeSnapshot, Job } from "@/api/types";
import { buttonLook } from "@/components/Button";
import { CopyButton } from "@/components/Copy";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { bytes, count, plural } from "@/format/units";
import { filesOf } from "@/model/jobs/diff";
import type { FileDiff } from "@/model/jobs/diff";

/** More than this is read in an editor: it is offered as a file only. */
const MOST_BYTES = 2_000_000;
const MOST_LINES = 3_000;
/** A file with more lines is closed at first. */
const LONG = 400;

/** Code that the job runs: commit, diff against it, and downloads of both. */
export function CodeTab({ job }: { job: Job }) {
  const me = useMe().data;
  const code = job.snapshot;
  if (!code)
    return (
      <EmptyState title="The code was not frozen">
        The job runs the files in its folder as they are when it starts. Submit with <code>snapshot</code> to
        keep the git work tree as it is then.
      </EmptyState>
    );
  const mine = !me || me.admin || me.user === job.user;
  return (
    <>
      <Section title="Frozen at submission">
        <Facts code={code} />
        {mine ? (
          <div className="mt-3 flex flex-wrap gap-2">
            <a href={snapshotUrl(job.id, "archive")} download className={buttonLook()}>
              <Download aria-hidden className="size-4" />
              Download all, {bytes(code.bytes ?? 0)} (tar)
            </a>
            {(code.diff_bytes ?? 0) > 0 && (
              <a href={snapshotUrl(job.id, "diff")} download className={buttonLook()}>
                <Download aria-hidden className="size-4" />
                Download the diff, {bytes(code.diff_bytes)}
              </a>
            )}
          </div>
        ) : (
          <p className="mt-3 text-sm text-muted">Only {job.user} and admins can read the code.</p>
        )}
      </Section>
      {mine && <Difference job={job} code={code} />}
    </>
  );
}

function Facts({ code }: { code: CodeSnapshot }) {
  const differs = [
    ...((code.changed ?? 0) > 0 ? [`${plural(code.changed ?? 0, "changed file")}`] : []),
    ...((code.untracked ?? 0) > 0 ? [`${plural(code.untracked ?? 0, "new file")}`] : []),
  ];
  return (
    <dl className="panel grid grid-cols-[auto_1fr] items-baseline gap-x-4 gap-y-1 px-4 py-3 text-sm">
      <dt className="text-muted">Commit</dt>
      <dd className="flex flex-wrap items-center gap-x-2 wrap-anywhere">
        {code.commit ? (
          <>
            <code>{code.commit}</code>
            <CopyButton text={code.commit} label="Copy the commit" />
          </>
        ) : (
          "none yet"
        )}
      </dd>
      <dt className="text-muted">Branch</dt>
      <dd>{code.branch ?? "none checked out"}</dd>
      <dt className="text-muted">Changes</dt>
      <dd>{differs.join(", ") || "none"}</dd>
      <dt className="text-muted">Source</dt>
      <dd className="wrap-anywhere">
        <code>{code.root}</code>
        {code.subdir && (
          <>
            , runs in <code>{code.subdir}</code>
          </>
        )}
      </dd>
      <dt className="text-muted">Files</dt>
      <dd>
        {count(code.files ?? 0)}, {bytes(code.bytes ?? 0)}
      </dd>
      {(code.linked ?? []).length > 0 && (
        <>
          <dt className="text-muted">Not frozen</dt>
          <dd className="wrap-anywhere">
            <code>{code.linked?.join(", ")}</code>
            <span className="text-muted"> (ignored by git: links to the originals)</span>
          </dd>
        </>
      )}
    </dl>
  );
}

function Difference({ job, code }: { job: Job; code: CodeSnapshot }) {
  const size = code.diff_bytes ?? 0;
  const diff = useQuery({
    queryKey: ["job", job.id, "diff"],
    queryFn: ({ signal }) => api.diff(job.id, signal),
    enabled: size > 0 && size <= MOST_BYTES,
    staleTime: Infinity,
  });
  if (size === 0) return null;
  if (size > MOST_BYTES)
    return (
      <Section title="Diff against the commit">
        <p className="text-sm text-muted">The diff has {bytes(size)}, which is too large to show here.</p>
      </Section>
    );
  if (diff.isError)
    return (
      <Section title="Diff against the commit">
        <ErrorMessage error={diff.error} retry={() => void diff.refetch()} />
      </Section>
    );
  if (!diff.data) return <Skeleton rows={4} />;
  const files = filesOf(diff.data);
  return (
    <Section title="Diff against the commit" note={plural(files.length, "file")}>
      <div className="flex flex-col gap-2">
        {files.map((file) => (
          <FileChange key={file.path} file={file} />
        ))}
      </div>
    </Section>
  );
}

export function FileChange({ file }: { file: FileDiff }) {
  const shown = file.lines.slice(0, MOST_LINES);
  return (
    <details className="panel overflow-hidden" open={file.lines.length <= LONG}>
      <summary className="flex min-h-8 flex-wrap items-center gap-x-3 px-3 py-1 text-sm">
        <code className="min-w-0 text-xs wrap-anywhere">{file.path}</code>
        {file.kind !== "changed" && <span className="text-xs text-muted">{file.kind}</span>}
        {file.binary ? (
          <span className="text-xs text-muted">binary</span>
        ) : (
          <span className="text-xs tabular">
            <span className="text-good">+{file.added}</span> <span className="text-bad">−{file.removed}</span>
          </span>
        )}
      </summary>
      {shown.length > 0 && (
        <pre
          tabIndex={0}
          aria-label={`Diff of ${file.path}`}
          className="overflow-x-auto border-t border-line py-1 text-xs leading-5"
        >
          <code className="block w-max min-w-full">
            {shown.map((line, i) => (
              <span
                key={i}
                className={clsx(
                  "block px-3",
                  line.startsWith("@@")
                    ? "bg-sunken text-muted"
                    : line.startsWith("+")
                      ? "bg-good-soft text-good"
                      : line.startsWith("-")
                        ? "bg-bad-soft text-bad"
                        : "",
                )}
              >
                {line || " "}
              </span>
            ))}
          </code>
        </pre>
      )}
      {file.lines.length > shown.length && (
        <p className="border-t border-line px-3 py-1 text-xs text-muted">
          {count(file.lines.length - shown.length)} more lines; download the diff to see them.
        </p>
      )}
    </details>
  );
}
