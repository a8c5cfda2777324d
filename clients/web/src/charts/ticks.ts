/** Round moments along a time axis. */

const MINUTE = 60_000;
const STEPS = [5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880].map((minutes) => minutes * MINUTE);

/**
 * Moments from `from` on, less than `span` later (both in ms), that the reader's clock calls round:
 * whole days, hours, halves, quarters or tens of minutes, whichever gives at most `most` of them.
 */
export function roundTicks(from: number, span: number, most: number): number[] {
  const step =
    STEPS.find((one) => span / one <= most) ?? Math.ceil(span / most / 1440 / MINUTE) * 1440 * MINUTE;
  const zone = new Date(from).getTimezoneOffset() * MINUTE;
  const found: number[] = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at < from + span; at += step) found.push(at);
  return found;
}
