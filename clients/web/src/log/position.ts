/**
 * Position of the window in a log, and its mapping to the scroll bar.
 *
 * Browsers cap the height of an element (Chromium: 33,554,428 px), and wrapped lines have no
 * known height before they are drawn. So the truth is a line and a fraction of it; small moves
 * of the scroll bar move by pixels over known heights, large ones in proportion.
 */

export const ROW_PX = 18;
const TALLEST_PX = 8_000_000;

export interface Geometry {
  total: number;
  /** Height of the window, px. */
  viewport: number;
  /** Height of a line in px: measured where known, one row otherwise. */
  heightOf: (line: number) => number;
  /** Every line is one row high: positions are exact, nothing needs walking. */
  even: boolean;
}

/** Height of the scrolled element, px. */
export function scrollHeight(g: Geometry): number {
  return Math.max(g.viewport, Math.min(g.total * ROW_PX, TALLEST_PX));
}

/** True when a scroll offset is a position one to one. */
export function isExact(g: Geometry): boolean {
  return g.even && g.total * ROW_PX <= TALLEST_PX;
}

/** The position at which the last line stands at the bottom. */
export function endTop(g: Geometry): number {
  if (g.even) return Math.max(0, g.total - g.viewport / ROW_PX);
  let rest = g.viewport;
  let line = g.total;
  while (line > 0) {
    const height = g.heightOf(line - 1);
    if (height >= rest) return line - rest / height;
    rest -= height;
    line -= 1;
  }
  return 0;
}

/** `top` moved by `px` (negative: towards the start), kept within the log. */
export function moveBy(g: Geometry, top: number, px: number): number {
  if (g.even) return clamp(top + px / ROW_PX, endTop(g));
  let line = Math.floor(top);
  let within = (top - line) * g.heightOf(line) + px;
  while (within < 0 && line > 0) {
    line -= 1;
    within += g.heightOf(line);
  }
  while (line < g.total && within >= g.heightOf(line)) {
    within -= g.heightOf(line);
    line += 1;
  }
  return clamp(line + Math.max(0, within) / g.heightOf(line), endTop(g));
}

/** Position of the window after the scroll bar went from `before` to `after`. */
export function onScroll(g: Geometry, top: number, before: number, after: number): number {
  const room = scrollHeight(g) - g.viewport;
  if (isExact(g)) return clamp(after / ROW_PX, endTop(g));
  if (after <= 0) return Math.abs(before) < 3 * g.viewport ? Math.max(0, moveBy(g, top, after - before)) : 0;
  const delta = after - before;
  if (Math.abs(delta) <= 2 * g.viewport) return moveBy(g, top, delta);
  return clamp((after / room) * endTop(g), endTop(g));
}

/** The scroll offset that shows where `top` is. */
export function scrollTopOf(g: Geometry, top: number): number {
  if (isExact(g)) return top * ROW_PX;
  const end = endTop(g);
  return end <= 0 ? 0 : (top / end) * (scrollHeight(g) - g.viewport);
}

function clamp(top: number, end: number): number {
  return Math.min(end, Math.max(0, top));
}
