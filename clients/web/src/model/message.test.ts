import { expect, test } from "vitest";
import type { Message } from "@/api/types";
import { fieldName, jobName, jobsOf, namesTime } from "./message";

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
