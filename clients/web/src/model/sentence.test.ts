import { expect, test } from "vitest";
import { pieces, withoutForecast } from "./sentence";

test("code, times and jobs are told from the words around them", () => {
  expect(pieces("GPUs 0–1: held by job 8 (twin) until 2026-11-26 01:13 UTC; see `berth gpus`.")).toEqual([
    { kind: "text", text: "GPUs 0–1: held by " },
    { kind: "job", text: "job 8", id: 8 },
    { kind: "text", text: " (twin) until " },
    { kind: "time", at: Date.UTC(2026, 10, 26, 1, 13) },
    { kind: "text", text: "; see " },
    { kind: "code", text: "berth gpus" },
    { kind: "text", text: "." },
  ]);
});

test("each job of a list can be opened", () => {
  expect(pieces("2 jobs wait ahead of it: jobs 23, 26.").filter((p) => p.kind === "job")).toEqual([
    { kind: "job", text: "23", id: 23 },
    { kind: "job", text: "26", id: 26 },
  ]);
});

test("durations read as everywhere on the page", () => {
  expect(pieces("free in about 1h59m at the latest")).toEqual([
    { kind: "text", text: "free in about 1h 59m at the latest" },
  ]);
});

test("a sentence without any of it stays whole", () => {
  expect(pieces("It is held.")).toEqual([{ kind: "text", text: "It is held." }]);
  expect(pieces("")).toEqual([]);
});

test("what the columns say is not said twice", () => {
  const reason = "GPU 0: held by job 8 of ada until 2026-11-26 01:13 UTC at the latest.";
  expect(withoutForecast(`${reason} Expected start: 2026-11-26 01:13 UTC, place 2 in the queue.`)).toBe(
    reason,
  );
  expect(withoutForecast(reason)).toBe(reason);
});
