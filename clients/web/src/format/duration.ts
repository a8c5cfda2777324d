/** Formatting and parsing of durations and times. Seconds in, text out. */

const UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
];

/** "2d 3h", "1h 30m", "45s": the two largest units, rounded down. Below a second: "0s". */
export function duration(seconds: number): string {
  let rest = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 || parts.length > 0) parts.push(`${count}${unit}`);
    if (parts.length === 2) break;
  }
  const shown = parts.filter((part, i) => i === 0 || !part.startsWith("0"));
  return shown.join(" ") || "0s";
}

/** "about 45s", "1h 20m to 1h 40m": a median, and what nine of ten keep where that is longer. */
export function leftBetween(median: number, late: number | null | undefined): string {
  const longest = duration(Math.max(median, late ?? 0));
  const shown = duration(median);
  return longest === shown ? `about ${shown}` : `${shown} to ${longest}`;
}

/** A length that is over: as `duration`, below ten seconds with a tenth. */
export function span(seconds: number): string {
  return seconds < 10 ? `${Math.max(0, seconds).toFixed(1)}s` : duration(seconds);
}

/** "12:04:09" or "1d 02:04:09": every second shown, for clocks that run. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const days = Math.floor(whole / 86_400);
  const pad = (n: number) => String(n).padStart(2, "0");
  const hms = `${pad(Math.floor((whole % 86_400) / 3_600))}:${pad(Math.floor((whole % 3_600) / 60))}:${pad(whole % 60)}`;
  return days > 0 ? `${days}d ${hms}` : hms;
}

/**
 * Seconds of a duration as the server writes it ("1h30m", "45s", "250ms") or as users type it
 * ("12h", "90", "1:30:00", "2-00:00:00"). Undefined when it is none.
 */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  const slurm = /^(?:(\d+)-)?(\d{1,3}):([0-5]\d)(?::([0-5]\d))?$/.exec(trimmed);
  if (slurm) {
    const [, d, h, m, s] = slurm;
    return Number(d ?? 0) * 86_400 + Number(h) * 3_600 + Number(m) * 60 + Number(s ?? 0);
  }
  const sizes: Record<string, number> = { d: 86_400, h: 3_600, m: 60, s: 1, ms: 0.001 };
  const pattern = /(\d+(?:\.\d+)?)\s*(ms|d|h|m|s)\s*/giy;
  let total = 0;
  let at = 0;
  while (at < trimmed.length) {
    pattern.lastIndex = at;
    const match = pattern.exec(trimmed);
    if (!match) return undefined;
    total += Number(match[1]) * (sizes[(match[2] ?? "").toLowerCase()] ?? 0);
    at = pattern.lastIndex;
  }
  return trimmed === "" ? undefined : total;
}

/** "in 5m", "3h 2m ago", "now": `at` against `now`, both in milliseconds since the epoch. */
export function relative(at: number, now: number): string {
  const seconds = (at - now) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
}

/** "2026-11-24 14:03:09" in the browser's own zone. */
export function absolute(at: number): string {
  const date = new Date(at);
  const pad = (n: number) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${timeOfDay(at)}:${pad(date.getSeconds())}`;
}

/** "2026-11-24 14:03:09 GMT+1": the same with the zone, for titles and where it stands alone. */
export function absoluteInZone(at: number): string {
  return `${absolute(at)} ${zoneName(at)}`;
}

const zones = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" });

/** The browser's own zone at that moment: "GMT+1", "CET", "UTC". */
export function zoneName(at: number = Date.now()): string {
  const part = zones.formatToParts(at).find((one) => one.type === "timeZoneName");
  return part?.value ?? "local time";
}

/** "14:03" in the browser's own zone. */
export function timeOfDay(at: number): string {
  const date = new Date(at);
  return `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
}

/** "14:03:09" in the browser's own zone. */
export function wallSeconds(at: number): string {
  return `${timeOfDay(at)}:${String(new Date(at).getSeconds()).padStart(2, "0")}`;
}

/** "14:03" when `at` is on the day of `now`, else "Wed 14:03" or "12 Dec 14:03". */
export function wallClock(at: number, now: number): string {
  const apart = Math.abs(at - now);
  const date = new Date(at);
  if (date.toDateString() === new Date(now).toDateString()) return timeOfDay(at);
  const day =
    apart < 6 * 86_400_000
      ? date.toLocaleDateString("en-GB", { weekday: "short" })
      : date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${day} ${timeOfDay(at)}`;
}
