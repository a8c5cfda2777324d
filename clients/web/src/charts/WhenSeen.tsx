import { useEffect, useRef, useState } from "react";
import type { ReactNode } from "react";

/** Its place at once, its content when it comes near the screen: fifty charts are not drawn at once. */
export function WhenSeen({ height, children }: { height: number; children: ReactNode }) {
  const place = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const watch = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
      },
      { rootMargin: "200px" },
    );
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  return (
    <div ref={place} className="min-w-0" style={seen ? {} : { minHeight: height }}>
      {seen && children}
    </div>
  );
}
