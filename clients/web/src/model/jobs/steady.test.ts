import { expect, test } from "vitest";
import { merged } from "./steady";

const jobs = (...ids: number[]) => ids.map((id) => ({ id, state: `s${id}` }));

test("a held list keeps its order and tells what is new, gone or moved", () => {
  expect(merged(jobs(1, 2, 3), jobs(1, 2, 3)).changes).toBe(0);
  const { shown, changes } = merged(jobs(1, 2, 3), [
    { id: 9, state: "new" },
    { id: 2, state: "run" },
    ...jobs(1),
  ]);
  expect(shown).toEqual([
    { id: 1, state: "s1" },
    { id: 2, state: "run" },
    { id: 3, state: "s3" },
  ]);
  // 9 is new, 3 is gone, 1 and 2 have changed places.
  expect(changes).toBe(4);
});

test("what comes at the end moves nothing", () => {
  expect(merged(jobs(5, 4), jobs(5, 4, 3, 2))).toEqual({ shown: jobs(5, 4, 3, 2), changes: 0 });
  expect(merged(jobs(5), jobs(9)).changes).toBe(2);
});
