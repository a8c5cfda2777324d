import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, runFileUrl } from "@/api/endpoints";
import { useMe } from "@/api/queries";
import type { Attempt, Job } from "@/api/types";
import { buttonLook } from "@/components/Button";
import { CodeBlock } from "@/components/Copy";
import { Dialog } from "@/components/Dialog";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { Ago } from "@/components/Time";
import { bytes } from "@/format/units";

/** Files in the attempt's run directory. */
export function FilesTab({ job, attempt }: { job: Job; attempt: Attempt | undefined }) {
  const files = useQuery({
    queryKey: ["job", job.id, "files", attempt?.number],
    queryFn: ({ signal }) => api.files(job.id, attempt?.number, signal),
    enabled: attempt !== undefined,
  });
  const [opened, setOpened] = useState<string | null>(null);
  const me = useMe().data;
  const mine = !me || me.admin || me.user === job.user;
  if (!attempt)
    return <EmptyState title="No files yet">The run directory is created when the job starts.</EmptyState>;
  return (
    <div className="flex flex-col gap-3">
      <CodeBlock label="Run directory on the box" text={attempt.run_dir} />
      {files.isError ? (
        <ErrorMessage error={files.error} retry={() => void files.refetch()} />
      ) : !files.data ? (
        <Skeleton rows={4} />
      ) : (
        <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Files">
          <table className="w-full text-sm">
            <caption className="sr-only">Files of attempt {attempt.id}</caption>
            <thead className="text-left text-xs text-muted">
              <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
                <th>File</th>
                <th className="text-right">Size</th>
                <th>Changed</th>
              </tr>
            </thead>
            <tbody>
              {files.data.files.map((file) => (
                <tr key={file.name} className="border-t border-line [&>td]:px-3 [&>td]:py-1.5">
                  <td>
                    <FileName
                      job={job}
                      attempt={attempt}
                      name={file.name}
                      size={file.size_bytes}
                      mine={mine}
                      onOpen={setOpened}
                    />
                  </td>
                  <td className="text-right tabular">
                    {file.name.endsWith("/") ? "folder" : bytes(file.size_bytes)}
                  </td>
                  <td>
                    <Ago time={file.modified_at} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {opened !== null && (
        <FileDialog job={job} attempt={attempt} name={opened} onClose={() => setOpened(null)} />
      )}
    </div>
  );
}

/** What is shown on the page; larger files are downloaded. */
const MOST_SHOWN = 1_000_000;

interface OneFile {
  job: Job;
  attempt: Attempt;
  name: string;
}

function FileName({
  job,
  attempt,
  name,
  size,
  mine,
  onOpen,
}: OneFile & { size: number; mine: boolean; onOpen: (name: string) => void }) {
  const text = <code className="text-xs">{name}</code>;
  if (name === "output.log")
    return (
      <Link
        to="/jobs/$jobId/$tab"
        params={{ jobId: String(job.id), tab: "log" }}
        search={{ attempt: attempt.number }}
        className="text-accent underline"
      >
        {text}
      </Link>
    );
  if (!mine || name.endsWith("/") || !name.startsWith("files/")) return text;
  if (size > MOST_SHOWN)
    return (
      <a
        href={runFileUrl(job.id, attempt.number, name)}
        download={name.slice("files/".length)}
        className="text-accent underline"
        title="Too large to show here: download"
      >
        {text}
      </a>
    );
  return (
    <button type="button" className="text-accent underline" onClick={() => onOpen(name)}>
      {text}
    </button>
  );
}

function FileDialog({ job, attempt, name, onClose }: OneFile & { onClose: () => void }) {
  const file = useQuery({
    queryKey: ["job", job.id, "file", attempt.number, name],
    queryFn: ({ signal }) => api.runFile(job.id, attempt.number, name, signal),
  });
  const binary = file.data?.includes("\0") === true;
  return (
    <Dialog title={name} onClose={onClose} wide>
      {file.isError ? (
        <ErrorMessage error={file.error} retry={() => void file.refetch()} />
      ) : file.data === undefined ? (
        <Skeleton rows={4} />
      ) : binary ? (
        <p className="text-sm text-muted">This file is not text.</p>
      ) : (
        <pre
          tabIndex={0}
          aria-label={`Content of ${name}`}
          className="max-h-[65dvh] overflow-auto rounded bg-sunken p-3 text-xs leading-5"
        >
          {file.data === "" ? "(empty)" : file.data}
        </pre>
      )}
      <p className="mt-3">
        <a
          href={runFileUrl(job.id, attempt.number, name)}
          download={name.slice("files/".length)}
          className={buttonLook("plain", true)}
        >
          Download
        </a>
      </p>
    </Dialog>
  );
}
