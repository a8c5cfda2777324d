/** Empty state, error message and loading skeleton. */
import { CircleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { ApiError } from "@/api/request";
import { Button } from "./Button";
import { Message } from "./Message";

/** Empty state with advice. `screen`: it stands for the whole screen. */
export function EmptyState({
  title,
  children,
  screen = false,
}: {
  title: string;
  children?: ReactNode;
  screen?: boolean;
}) {
  const Title = screen ? "h1" : "p";
  return (
    <div className="panel px-6 py-8 text-center">
      <Title className="font-medium">{title}</Title>
      {children && <div className="mt-1.5 text-sm text-muted">{children}</div>}
    </div>
  );
}

/** Error message with the request's id, to find it in the server's log. */
export function ErrorMessage({ error, retry }: { error: unknown; retry?: () => void }) {
  const id = error instanceof ApiError ? error.requestId : null;
  return (
    <div role="alert" className="panel flex flex-wrap items-center gap-3 border-bad px-4 py-3">
      <CircleAlert aria-hidden className="size-5 shrink-0 text-bad" />
      <div className="min-w-0 flex-1">
        <p>
          <ErrorText error={error} fallback="Something went wrong on this page." />
        </p>
        {error instanceof ApiError && error.furtherFields.length > 0 && (
          <ul className="mt-1 text-sm text-muted">
            {error.furtherFields.map((f) => (
              <li key={f.field + f.problem}>
                <code>{f.field}</code>: <Message parts={f.problem_parts} text={f.problem} />
              </li>
            ))}
          </ul>
        )}
        {id && <p className="text-xs text-muted">request {id}</p>}
      </div>
      {retry && <Button onClick={retry}>Try again</Button>}
    </div>
  );
}

/** The sentence of an error: of the server's own with its parts. */
export function ErrorText({ error, fallback }: { error: unknown; fallback: string }) {
  const parts = error instanceof ApiError ? error.parts : undefined;
  return <Message parts={parts} text={error instanceof Error ? error.message : fallback} links={false} />;
}

/** Placeholder of rows that are loading. */
export function Skeleton({ rows = 5, height = 32 }: { rows?: number; height?: number }) {
  return (
    <div role="status" aria-label="Loading" className="flex flex-col gap-2">
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} className="skeleton" style={{ height }} />
      ))}
    </div>
  );
}
