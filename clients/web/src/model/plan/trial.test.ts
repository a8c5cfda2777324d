import { expect, it } from "vitest";
import { draggedLimit, trialOf } from "./trial";

it("tries what the fields say and keeps what they leave open", () => {
  expect(trialOf(7, "4", "")).toEqual({ job: 7, gpus: 4 });
  expect(trialOf(7, "", " 6h ")).toEqual({ job: 7, time_limit: "6h" });
  expect(trialOf(7, "0", "")).toEqual({ job: 7 });
});

it("drags a limit by quarters of an hour, from the limit or the expected end", () => {
  const bar = { starts_at: "2026-11-30T10:00:00Z", ends_at: "2026-11-30T11:00:00Z", ends_by: null };
  expect(draggedLimit(bar, 40 * 60_000)).toBe("1h45m");
  expect(draggedLimit({ ...bar, ends_by: "2026-11-30T14:00:00Z" }, 0)).toBe("4h");
  expect(draggedLimit(bar, -9e9)).toBe("15m");
});
