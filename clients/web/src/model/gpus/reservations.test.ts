import { describe, expect, test } from "vitest";
import type { Gpu, Reservation } from "@/api/types";
import { localTime, momentOf, names, reservationsOf, whose } from "./reservations";

const one = (id: number, starts_at: string) =>
  ({ id, starts_at, users: [], groups: [] }) as unknown as Reservation;
const gpu = (...reservations: Reservation[]) => ({ reservations }) as unknown as Gpu;

describe("reservations", () => {
  test("one that covers several GPUs is listed once, soonest first", () => {
    const later = one(1, "2026-11-27T08:00:00Z");
    const sooner = one(2, "2026-11-26T08:00:00Z");
    expect(reservationsOf([gpu(later), gpu(later, sooner), gpu()]).map((r) => r.id)).toEqual([2, 1]);
  });

  test("users and groups are distinguished", () => {
    expect(whose({ ...one(1, ""), users: ["ada"], groups: ["vision"] })).toBe("ada, group vision");
  });

  test("names are read however they are separated", () => {
    expect(names(" ada, bob  eve,")).toEqual(["ada", "bob", "eve"]);
  });

  test("a time survives its field to the minute", () => {
    const at = Date.parse("2026-11-26T08:30:00Z");
    expect(momentOf(localTime(at))).toBe("2026-11-26T08:30:00.000Z");
    expect(momentOf("")).toBeUndefined();
  });
});
