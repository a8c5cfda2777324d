import { createContext, useContext } from "react";
import { Link } from "@tanstack/react-router";
import type { MessagePart } from "@/api/types";
import { absoluteInZone, duration, wallClock } from "@/format/duration";
import { named } from "@/model/gpus/topology";
import { fieldName, jobName } from "@/model/message";
import { useNow } from "./Time";

/** Labels of a form's fields by the names that the server gives them. */
export const FieldLabels = createContext<Readonly<Record<string, string>>>({});

/**
 * A message of the server: code as code, times in the reader's zone, jobs as links, fields as the
 * form around it labels them. `text` alone is shown where there are no parts.
 */
export function Message({
  parts,
  text,
  links = true,
}: {
  parts?: readonly MessagePart[] | undefined;
  text: string | null | undefined;
  links?: boolean;
}) {
  return (
    <span className="wrap-anywhere">
      {parts?.length ? parts.map((part, i) => <Part key={i} part={part} links={links} />) : text}
    </span>
  );
}

function Part({ part, links }: { part: MessagePart; links: boolean }) {
  switch (part.kind) {
    case "code":
      return <code className="text-[0.95em]">{part.text}</code>;
    case "time":
      return <LocalTime at={Date.parse(part.at)} />;
    case "duration":
      return duration(part.seconds);
    case "gpu":
      return named(part.indices);
    case "field":
      return <FieldName part={part} />;
    case "user":
      return part.name;
    case "job":
      return (
        <>
          {links ? (
            <Link to="/jobs/$jobId" params={{ jobId: String(part.id) }} className="text-accent underline">
              {part.text}
            </Link>
          ) : (
            part.text
          )}
          {jobName(part)}
        </>
      );
    case "text":
      return part.text;
  }
}

function FieldName({ part }: { part: Extract<MessagePart, { kind: "field" }> }) {
  return fieldName(part, useContext(FieldLabels));
}

function LocalTime({ at }: { at: number }) {
  const now = useNow(60_000);
  return (
    <time dateTime={new Date(at).toISOString()} title={absoluteInZone(at)}>
      {wallClock(at, now)}
    </time>
  );
}
