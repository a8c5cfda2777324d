import { expect, test } from "vitest";
import { KeyReader, keyName } from "./keys";

const actions = [
  { label: "Submit", keys: "c", run: () => {} },
  { label: "Overview", keys: "g o", run: () => {} },
  { label: "Start of the log", keys: "g g", run: () => {} },
  { label: "End of the log", keys: "Shift+G", run: () => {} },
];

test("a single key and a sequence find their actions", () => {
  const reader = new KeyReader();
  expect(reader.read("c", actions, 0)?.label).toBe("Submit");
  expect(reader.read("g", actions, 0)).toBeUndefined();
  expect(reader.read("o", actions, 500)?.label).toBe("Overview");
});

test("a sequence that takes too long is forgotten", () => {
  const reader = new KeyReader();
  reader.read("g", actions, 0);
  expect(reader.read("o", actions, 5_000)).toBeUndefined();
});

test("what a screen adds wins over what the page has", () => {
  const own = [...actions, { label: "Own", keys: "c", run: () => {} }];
  expect(new KeyReader().read("c", own, 0)?.label).toBe("Own");
});

test("keys with Ctrl belong to the browser; capitals carry Shift", () => {
  const press = (key: string, held: object = {}) =>
    keyName({ key, shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, ...held });
  expect(press("c", { ctrlKey: true })).toBeUndefined();
  expect(press("G", { shiftKey: true })).toBe("Shift+G");
  expect(press("?", { shiftKey: true })).toBe("?");
});
