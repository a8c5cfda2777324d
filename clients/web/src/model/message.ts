/** Messages of the server as parts: text, code, times, durations, jobs, GPUs and users. */

import type { Message, MessagePart } from "@/api/types";

const LONGEST_NAME = 24;

/** Parts of a text that came without any: backquotes mark code, as in Markdown. */
export function plainParts(text: string): MessagePart[] {
  const pieces = text.split("`");
  // An unpaired backquote is an ordinary character.
  if (pieces.length % 2 === 0) return [{ kind: "text", text }];
  return pieces
    .map((piece, i): MessagePart => ({ kind: i % 2 === 1 ? "code" : "text", text: piece }))
    .filter((part) => part.kind !== "text" || part.text !== "");
}

/** " (name)" of a job in a message, shortened; empty where the message does not name it. */
export function jobName(part: Extract<MessagePart, { kind: "job" }>): string {
  if (!part.name) return "";
  return ` (${part.name.length > LONGEST_NAME ? `${part.name.slice(0, LONGEST_NAME - 1)}…` : part.name})`;
}

/** Whether a message names this moment. */
export function namesTime(parts: Message | undefined, at: string): boolean {
  return (parts ?? []).some((part) => part.kind === "time" && Date.parse(part.at) === Date.parse(at));
}

/** Ids of the jobs that a message names. */
export function jobsOf(parts: Message | undefined): Set<number> {
  return new Set((parts ?? []).flatMap((part) => (part.kind === "job" ? [part.id] : [])));
}
