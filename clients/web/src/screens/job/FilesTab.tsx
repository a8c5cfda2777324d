import { useQuery } from "@tanstack/react-query";
import { api } from "@/api/endpoints";
import type { Attempt, Job } from "@/api/types";
import { CodeBlock } from "@/components/Copy";
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
                    <code className="text-xs">{file.name}</code>
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
    </div>
  );
}
