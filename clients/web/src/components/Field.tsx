import { useId } from "react";
import type { ReactNode } from "react";
import type { FieldProblem } from "@/api/types";
import { Message } from "./Message";

interface InputProps {
  id: string;
  "aria-describedby"?: string;
  "aria-invalid"?: true;
}

/** Labelled input with a note, or with the error that the server reported for it. */
export function Field({
  label,
  note,
  error,
  children,
}: {
  label: string;
  note?: ReactNode;
  error?: FieldProblem | undefined;
  children: (input: InputProps) => ReactNode;
}) {
  const id = useId();
  const input: InputProps = error
    ? { id, "aria-describedby": `${id}-error`, "aria-invalid": true }
    : note
      ? { id, "aria-describedby": `${id}-note` }
      : { id };
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <label htmlFor={id} className="text-sm font-medium">
        {label}
      </label>
      {children(input)}
      {error ? (
        <FieldError id={`${id}-error`} error={error} />
      ) : (
        note && (
          <span id={`${id}-note`} className="text-xs text-muted">
            {note}
          </span>
        )
      )}
    </div>
  );
}

export function FieldError({ id, error }: { id?: string; error: FieldProblem }) {
  return (
    <span id={id} role="alert" className="text-xs text-bad">
      <Message parts={error.problem_parts} text={error.problem} links={false} />
    </span>
  );
}
