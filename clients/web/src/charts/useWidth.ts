import { useEffect, useState } from "react";
import type { RefCallback } from "react";

/** A ref, and the width in CSS pixels of the element that has it; `initial` until it is measured. */
export function useWidth(initial: number): [RefCallback<Element>, number] {
  const [element, setElement] = useState<Element | null>(null);
  const [width, setWidth] = useState(initial);
  useEffect(() => {
    if (!element) return;
    const watch = new ResizeObserver(([entry]) => {
      if (entry && entry.contentRect.width > 0) setWidth(Math.floor(entry.contentRect.width));
    });
    watch.observe(element);
    return () => watch.disconnect();
  }, [element]);
  return [setElement, width];
}
