import { useLayoutEffect, useRef, useState } from "react";
import type { RefObject } from "react";

/** A height that fills the window from where the element stands, above the bottom bar. */
export function useRestOfWindow(layout: number): [RefObject<HTMLDivElement | null>, number] {
  const element = useRef<HTMLDivElement>(null);
  const [height, setHeight] = useState(480);
  useLayoutEffect(() => {
    const measure = () => {
      if (!element.current) return;
      const top = element.current.getBoundingClientRect().top + scrollY;
      setHeight(Math.max(320, innerHeight - top - (innerWidth < 1024 ? 76 : 20)));
    };
    measure();
    // What stands above (messages, step line) changes its height with the job.
    const watch = new ResizeObserver(measure);
    const above = element.current?.parentElement?.querySelector("header");
    if (above) watch.observe(above);
    addEventListener("resize", measure);
    return () => {
      watch.disconnect();
      removeEventListener("resize", measure);
    };
  }, [layout]);
  return [element, height];
}
