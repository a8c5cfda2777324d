/** Lists that hold still while somebody points at them. */
import { useEffect, useEffectEvent, useState } from "react";
import type { PointerEvent } from "react";
import { merged } from "@/model/jobs/steady";

export interface Steady<T> {
  shown: readonly T[];
  /** Number of entries that are new or have moved since; 0 while nothing is held back. */
  changes: number;
  /** Show the list as it is now. */
  release: () => void;
  /** For the element around the list. */
  handlers: {
    onPointerEnter: (event: PointerEvent) => void;
    onPointerMove: (event: PointerEvent) => void;
    onPointerLeave: () => void;
  };
}

const SCROLLED_PX = 200;

/**
 * The list in its present order; while the pointer is over it, or (`scrolled`) the page was scrolled
 * down, in the order it had, with what is known of each entry now. `order`: another one is another
 * list, which holds nothing of the one before.
 */
export function useSteady<T extends { id: number }>(
  items: readonly T[],
  scrolled = false,
  order = "",
): Steady<T> {
  const [over, setOver] = useState(false);
  const [held, setHeld] = useState<{ order: string; items: readonly T[] }>();
  const kept = held?.order === order ? held.items : undefined;
  const setKept = (next: readonly T[] | undefined) => setHeld(next && { order, items: next });
  const look = useEffectEvent(() => {
    const down = scrollY > SCROLLED_PX;
    if (down && kept === undefined) setKept(items);
    if (!down && !over) setKept(undefined);
  });
  useEffect(() => {
    if (!scrolled) return;
    const onScroll = () => look();
    addEventListener("scroll", onScroll, { passive: true });
    return () => removeEventListener("scroll", onScroll);
  }, [scrolled]);
  const { shown, changes } = kept === undefined ? { shown: items, changes: 0 } : merged(kept, items);
  const point = (event: PointerEvent) => {
    // A finger that taps is no pointer that rests.
    if (event.pointerType !== "mouse") return;
    setOver(true);
    if (kept === undefined && items.length > 0) setKept(items);
  };
  return {
    shown,
    changes,
    release: () => setKept(items),
    handlers: {
      onPointerEnter: point,
      onPointerMove: point,
      onPointerLeave: () => {
        setOver(false);
        if (!scrolled || scrollY <= SCROLLED_PX) setKept(undefined);
      },
    },
  };
}
