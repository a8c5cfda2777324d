/** Registry of the page's actions, to which screens add theirs while they are shown. */
import { useEffect, useEffectEvent, useSyncExternalStore } from "react";
import { isPressed, isTyping, KeyReader, keyName } from "./keys";
import type { Action } from "./keys";

const groups = new Map<symbol, readonly Action[]>();
const watchers = new Set<() => void>();
let all: readonly Action[] = [];

export function useAllActions(): readonly Action[] {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => all,
  );
}

/** Offer `actions` while the component is shown. */
export function useActions(actions: readonly Action[]): void {
  const shape = actions.map((a) => `${a.keys ?? ""}\t${a.label}`).join("\n");
  // Each action is looked up when it runs: the published list may be old, what it does never.
  const run = useEffectEvent((index: number) => actions[index]?.run());
  const offered = useEffectEvent(() => actions.map((a, i) => ({ ...a, run: () => run(i) })));
  useEffect(() => {
    const id = Symbol("actions");
    groups.set(id, offered());
    publish();
    return () => {
      groups.delete(id);
      publish();
    };
  }, [shape]);
}

function publish(): void {
  all = [...groups.values()].flat();
  for (const watcher of watchers) watcher();
}

const SWITCH = "berth.keys";

export function keysAreOn(): boolean {
  return localStorage.getItem(SWITCH) !== "off";
}

export function switchKeys(on: boolean): void {
  localStorage.setItem(SWITCH, on ? "on" : "off");
}

/** Listen for keys. Called once, at start. */
export function startKeys(): void {
  const reader = new KeyReader();
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || isTyping(event.target) || !keysAreOn()) return;
    // A dialog has its own keys; nothing behind it may be triggered.
    if (document.querySelector("dialog[open]")) return;
    const name = keyName(event);
    if (name === undefined || (name === "Enter" && isPressed(event.target))) return;
    const action = reader.read(name, all, event.timeStamp);
    if (!action) return;
    event.preventDefault();
    action.run();
  });
}
