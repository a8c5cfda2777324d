import { expect, test } from "vitest";
import { changed, readJobsSearch, toFilter } from "./filter";

test("an address's nonsense is dropped, the rest kept", () => {
  expect(readJobsSearch({ state: "active,failed", user: "ada", q: 42, page: 3 })).toEqual({
    state: "active,failed",
    user: "ada",
    q: "42",
  });
  expect(readJobsSearch({ state: "flying" }).state).toBeUndefined();
});

test("a view's name becomes its states", () => {
  expect(toFilter({ state: "active" }).state).toEqual(["starting", "running", "stopping"]);
  expect(toFilter({ label: "ablation=a,seed=1" }).label).toEqual(["ablation=a", "seed=1"]);
  expect(toFilter({})).toEqual({});
});

test("taking a filter out leaves no empty parameter in the address", () => {
  expect(changed({ user: "ada", q: "x" }, { user: undefined })).toEqual({ q: "x" });
});
