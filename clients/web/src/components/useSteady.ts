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
  handlers: { onPointerEnter: (event: PointerEvent) => void; onPointerLeave: () => void };
}

const SCROLLED_PX = 200;

/**
 * The list in its present order; while the pointer is over it, or (`scrolled`) the page was scrolled
 * down, in the order it had, with what is known of each entry now.
 */
export function useSteady<T extends { id: number }>(items: readonly T[], scrolled = false): Steady<T> {
  const [over, setOver] = useState(false);
  const [kept, setKept] = useState<readonly T[]>();
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
  return {
    shown,
    changes,
    release: () => setKept(items),
    handlers: {
      onPointerEnter: (event) => {
        // A finger that taps is no pointer that rests.
        if (event.pointerType !== "mouse") return;
        setOver(true);
        setKept((before) => before ?? items);
      },
      onPointerLeave: () => {
        setOver(false);
        if (!scrolled || scrollY <= SCROLLED_PX) setKept(undefined);
      },
    },
  };
}
