import { useEffect, useImperativeHandle, useLayoutEffect, useRef, useState } from "react";
import type { Ref, RefObject } from "react";
import { onThemeChange } from "@/shell/theme";
import type { Rgb } from "./ansi";
import type { LogBuffer } from "./buffer";
import { LogRow } from "./LogRow";
import { endTop, moveBy, onScroll, ROW_PX, scrollHeight, scrollTopOf } from "./position";
import type { Geometry } from "./position";

export interface LogHandle {
  /** Bring a line to the upper third of the window. */
  show: (line: number) => void;
  toEnd: () => void;
  toStart: () => void;
  page: (direction: 1 | -1) => void;
}

interface Props {
  /** All of the log, or the lines of it that a filter lets through. */
  buffer: Pick<LogBuffer, "total" | "line" | "number" | "want"> & Partial<Pick<LogBuffer, "time">>;
  /** Show when each line was written. */
  times: boolean;
  /** Changes whenever the buffer does. */
  version: number;
  follow: boolean;
  onUnfollow: () => void;
  wrap: boolean;
  marked: number | null;
  onMark: (line: number) => void;
  find: RegExp | null;
  /** Lines that match, for the ticks beside the scroll bar. */
  ticks: readonly number[];
  handle: Ref<LogHandle>;
}

/** Virtual list of log lines of any number. Draws only what is in view. */
export function LogView({
  buffer,
  times,
  version,
  follow,
  onUnfollow,
  wrap,
  marked,
  onMark,
  find,
  ticks,
  handle,
}: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useRef<HTMLDivElement>(null);
  const heights = useRef(new Map<number, number>());
  const lastScroll = useRef(0);
  const settle = useRef<ReturnType<typeof setTimeout>>(undefined);
  const [top, setTop] = useState(0);
  const [viewport, setViewport] = useState(600);
  const ground = useGround(scroller);

  const geometry: Geometry = {
    total: buffer.total,
    viewport,
    even: !wrap,
    heightOf: (line) => (wrap ? (heights.current.get(line) ?? ROW_PX) : ROW_PX),
  };
  const now = useRef(geometry);
  now.current = geometry;
  const position = follow ? endTop(geometry) : Math.min(top, endTop(geometry));
  const first = Math.floor(position);
  const shown = Math.ceil(viewport / ROW_PX) + 2;
  const last = Math.min(buffer.total - 1, first + shown);

  useEffect(() => buffer.want(first - 100, last + 100), [buffer, first, last, version]);

  /**
   * Put the scroll bar where the position is, without that counting as scrolling. A move of the
   * reader's whose event is still to come is not undone, unless a jump was asked for (`force`).
   */
  const align = (to: number, force = false) => {
    const element = scroller.current;
    if (!element || (!force && Math.abs(element.scrollTop - lastScroll.current) > 1)) return;
    const wanted = scrollTopOf(now.current, to);
    if (Math.abs(element.scrollTop - wanted) > 1) element.scrollTop = wanted;
    lastScroll.current = element.scrollTop;
  };

  useLayoutEffect(() => {
    if (follow) align(position);
  });
  // oxlint-disable-next-line react/exhaustive-deps -- measures after every drawing, and draws again only when a height changed
  useLayoutEffect(() => {
    if (!wrap || !rows.current) return;
    let changed = false;
    for (const row of rows.current.children) {
      const line = Number((row as HTMLElement).dataset["line"]);
      const height = row.getBoundingClientRect().height;
      if (Math.abs((heights.current.get(line) ?? ROW_PX) - height) > 0.5) changed = true;
      heights.current.set(line, height);
    }
    if (heights.current.size > 20_000) heights.current.clear();
    if (changed && follow) setTop((t) => t + 1e-9);
  });
  useEffect(() => heights.current.clear(), [wrap, buffer]);
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const watch = new ResizeObserver(() => {
      heights.current.clear();
      setViewport(element.clientHeight);
    });
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  const moveTo = (to: number) => {
    setTop(to);
    // After this render: the spacer may grow first.
    requestAnimationFrame(() => align(to, true));
  };
  useImperativeHandle(handle, () => ({
    show: (line) =>
      moveTo(Math.min(endTop(now.current), Math.max(0, moveBy(now.current, line, -viewport / 3)))),
    toEnd: () => moveTo(endTop(now.current)),
    toStart: () => moveTo(0),
    page: (direction) => moveTo(moveBy(now.current, position, direction * (viewport - 2 * ROW_PX))),
  }));

  const scrolled = () => {
    const element = scroller.current;
    if (!element) return;
    const after = element.scrollTop;
    const before = lastScroll.current;
    if (Math.abs(after - before) < 0.5) return;
    lastScroll.current = after;
    // A view that became taller is moved up by the browser, and still ends where the log ends.
    const atEnd = after + element.clientHeight >= element.scrollHeight - 1;
    if (follow && after < before && !atEnd) onUnfollow();
    const next = onScroll(geometry, position, before, after);
    setTop(next);
    clearTimeout(settle.current);
    settle.current = setTimeout(() => align(next), 150);
  };

  return (
    <div className="relative min-h-0 flex-1">
      <div
        ref={scroller}
        role="log"
        aria-live="off"
        aria-label={`Log, ${buffer.total} lines`}
        tabIndex={0}
        onScroll={scrolled}
        onWheel={(event) => follow && event.deltaY < 0 && onUnfollow()}
        className="log absolute inset-0 overflow-x-hidden overflow-y-scroll font-mono text-xs leading-[18px] [overflow-anchor:none]"
      >
        <div style={{ height: scrollHeight(geometry) }}>
          <div className="sticky top-0 overflow-x-auto overflow-y-hidden" style={{ height: viewport }}>
            <div
              ref={rows}
              className={wrap ? "" : "w-max min-w-full"}
              style={{ transform: `translateY(${-(position - first) * geometry.heightOf(first)}px)` }}
            >
              {Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i).map((line) => (
                <LogRow
                  key={line}
                  number={buffer.number(line)}
                  time={times ? (buffer.time?.(line) ?? null) : undefined}
                  text={buffer.line(line)}
                  wrap={wrap}
                  marked={buffer.number(line) === marked}
                  find={find}
                  ground={ground}
                  onMark={onMark}
                />
              ))}
            </div>
          </div>
        </div>
      </div>
      <div aria-hidden className="pointer-events-none absolute inset-y-0 right-0 w-2">
        {ticks.map((line) => (
          <span
            key={line}
            className="absolute right-0 h-0.5 w-2 bg-warn"
            style={{ top: `${(line / Math.max(1, buffer.total)) * 100}%` }}
          />
        ))}
      </div>
    </div>
  );
}

/** The log's own background as numbers, for the contrast of exact colours. */
function useGround(element: RefObject<HTMLElement | null>): Rgb {
  const [ground, setGround] = useState<Rgb>([255, 255, 255]);
  useEffect(() => {
    const read = () => {
      if (!element.current) return;
      const found = getComputedStyle(element.current).backgroundColor.match(/\d+(\.\d+)?/g);
      if (found && found.length >= 3) setGround(found.slice(0, 3).map(Number) as unknown as Rgb);
    };
    read();
    return onThemeChange(read);
  }, [element]);
  return ground;
}
