import { expect, it } from "vitest";
import { isView, keepViews, savedViews, withView } from "./views";

function storage(text: string | null) {
  const kept = { text };
  return { getItem: () => kept.text, setItem: (_: string, next: string) => void (kept.text = next) };
}

it("keeps views by name, the newer in place of the older", () => {
  const kept = storage(null);
  const first = withView([], { name: "mine", search: { user: "ada" } });
  keepViews(withView(first, { name: "mine", search: { user: "ada", sort: "-gpus", cols: "state" } }), kept);
  expect(savedViews(kept)).toEqual([{ name: "mine", search: { user: "ada", sort: "-gpus", cols: "state" } }]);
});

it("survives whatever lies in the browser's storage", () => {
  for (const text of ["", "{", "3", "[1, null, {}]", '[{"name": "x"}]'])
    expect(savedViews(storage(text))).toEqual([]);
  expect(savedViews(storage('[{"name": "x", "search": {"nonsense": 1, "q": "gemma"}}]'))[0]?.search.q).toBe(
    "gemma",
  );
});

it("knows the view that an address shows", () => {
  const view = { name: "v", search: { state: "", user: "ada", q: "x" } };
  expect(isView(view, { q: "x", user: "ada" })).toBe(true);
  expect(isView(view, { q: "x" })).toBe(false);
});
