/** Keyboard shortcuts: single keys and "g o" sequences, off while typing. */

export interface Action {
  /** What it does, as the palette and the help show it. */
  label: string;
  /** "c", "g o", "Shift+G", "?"; none when only the palette offers it. */
  keys?: string;
  run: () => void;
}

const SEQUENCE_MS = 1_200;

/** Name of a key event: "g", "Shift+G", "?", "Escape". Undefined with Ctrl, Alt or Meta. */
export function keyName(
  event: Pick<KeyboardEvent, "key" | "shiftKey" | "ctrlKey" | "altKey" | "metaKey">,
): string | undefined {
  if (event.ctrlKey || event.altKey || event.metaKey) return undefined;
  const letter = /^[A-Za-z]$/.test(event.key);
  return event.shiftKey && letter ? `Shift+${event.key.toUpperCase()}` : event.key;
}

/** True when keys typed there are text and not commands. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}

/** True when Enter there belongs to the focused element: a button or a link. */
export function isPressed(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("a[href], button, summary") !== null;
}

/** Reads strokes one by one and finds the action they complete. */
export class KeyReader {
  private pending = "";
  private until = 0;

  /** The action that `name` completes at time `now`; keeps the first half of a sequence. */
  read(name: string, actions: readonly Action[], now: number): Action | undefined {
    const whole = this.pending !== "" && now <= this.until ? `${this.pending} ${name}` : name;
    const found = actions.findLast((a) => a.keys === whole) ?? actions.findLast((a) => a.keys === name);
    this.pending = "";
    if (found) return found;
    if (actions.some((a) => a.keys?.startsWith(`${name} `))) {
      this.pending = name;
      this.until = now + SEQUENCE_MS;
    }
    return undefined;
  }
}
