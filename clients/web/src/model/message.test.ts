import { expect, test } from "vitest";
import type { Message } from "@/api/types";
import { fieldName, jobName, jobsOf, namesTime, plainText } from "./message";

const AT = "2026-11-26T01:13:00.000Z";
const PARTS: Message = [
  { kind: "gpu", indices: [0, 1] },
  { kind: "text", text: ": held by " },
  { kind: "job", id: 8, text: "job 8", name: "twin" },
  { kind: "text", text: " until " },
  { kind: "time", at: AT },
  { kind: "text", text: "; see " },
  { kind: "code", text: "berth gpus" },
];

test("times and jobs come from the parts, however the words read", () => {
  const reworded = PARTS.map((part) => (part.kind === "text" ? { ...part, text: " until job 9 " } : part));
  for (const parts of [PARTS, reworded]) {
    expect(namesTime(parts, "2026-11-26T01:13:00Z")).toBe(true);
    expect(namesTime(parts, "2026-11-26T01:14:00Z")).toBe(false);
    expect([...jobsOf(parts)]).toEqual([8]);
  }
});

test("as plain text a message keeps its facts, times in the reader's zone", () => {
  const at = new Date(2026, 10, 26, 10, 13);
  const now = new Date(2026, 10, 26, 9, 0).getTime();
  const parts: Message = [
    ...PARTS.slice(0, 4),
    { kind: "time", at: at.toISOString() },
    { kind: "text", text: ", for " },
    { kind: "duration", seconds: 5400 },
    { kind: "text", text: " by " },
    { kind: "user", name: "ada" },
  ];
  expect(plainText(parts, "", now)).toBe("GPUs 0–1: held by job 8 (twin) until 10:13, for 1h 30m by ada");
  expect(plainText([], "It is held until 2026-11-26 01:13 UTC.", now)).toBe(
    "It is held until 2026-11-26 01:13 UTC.",
  );
});

test("other words around them change no fact", () => {
  const now = Date.parse(AT);
  const words = [" until ", "job 9 of bob, 2031-01-01 10:00 UTC", ""];
  const facts = (text: string) => {
    const reworded = PARTS.map((part) => (part.kind === "text" ? { ...part, text: `<${text}>` } : part));
    return plainText(reworded, "", now).split(`<${text}>`);
  };
  for (const text of words) expect(facts(text)).toEqual(facts(", "));
});

test("a long job name is shortened", () => {
  expect(jobName({ kind: "job", id: 8, text: "job 8", name: "twin" })).toBe(" (twin)");
  expect(jobName({ kind: "job", id: 8, text: "8", name: "" })).toBe("");
  expect(jobName({ kind: "job", id: 8, text: "job 8", name: "n".repeat(40) })).toHaveLength(27);
});

test("a field is named as the form labels it", () => {
  const part = { kind: "field", path: "time_limit", text: "'time_limit'" } as const;
  expect(fieldName(part, { time_limit: "Time limit" })).toBe("“Time limit”");
  expect(fieldName(part, {})).toBe("'time_limit'");
});
