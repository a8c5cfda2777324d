/** Messages of the server as parts: text, code, times, durations, jobs, GPUs and users. */

import type { Message, MessagePart } from "@/api/types";
import { duration, wallClock } from "@/format/duration";
import { named } from "@/model/gpus/topology";

const LONGEST_NAME = 24;

/** " (name)" of a job in a message, shortened; empty where the message does not name it. */
export function jobName(part: Extract<MessagePart, { kind: "job" }>): string {
  if (!part.name) return "";
  return ` (${part.name.length > LONGEST_NAME ? `${part.name.slice(0, LONGEST_NAME - 1)}…` : part.name})`;
}

/** A message where only plain text can stand, times in the reader's zone; `text` without parts. */
export function plainText(
  parts: readonly MessagePart[] | undefined,
  text: string | null | undefined,
  now = Date.now(),
): string {
  return parts?.length ? parts.map((part) => partText(part, now)).join("") : (text ?? "");
}

function partText(part: MessagePart, now: number): string {
  switch (part.kind) {
    case "time":
      return wallClock(Date.parse(part.at), now);
    case "duration":
      return duration(part.seconds);
    case "gpu":
      return named(part.indices);
    case "user":
      return part.name;
    case "job":
      return part.text + jobName(part);
    default:
      return part.text;
  }
}

/** True if a message names this moment. */
export function namesTime(parts: Message | undefined, at: string): boolean {
  return (parts ?? []).some((part) => part.kind === "time" && Date.parse(part.at) === Date.parse(at));
}

/** Ids of the jobs that a message names. */
export function jobsOf(parts: Message | undefined): Set<number> {
  return new Set((parts ?? []).flatMap((part) => (part.kind === "job" ? [part.id] : [])));
}

/** The label of the form's field in place of the field's name; `labels` by the first step of its path. */
export function fieldName(
  part: Extract<MessagePart, { kind: "field" }>,
  labels: Readonly<Record<string, string>>,
): string {
  const label = labels[part.path.split(".")[0] ?? ""];
  return label === undefined ? part.text : `“${label}”`;
}
