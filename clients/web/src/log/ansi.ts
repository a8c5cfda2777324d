/**
 * Terminal colours as data. Only "select graphic rendition" is honoured; every other escape
 * sequence is dropped, so that a log can never draw outside its line.
 */

export interface Span {
  text: string;
  /** Class names of `styles.css` (ansi-fg-1, ansi-bold, …). */
  classes: string;
  /** Exact colours for the 256-colour cube and truecolour; classes carry the 16 names. */
  color?: Rgb;
  background?: Rgb;
}

export type Rgb = readonly [number, number, number];

interface Pen {
  fg: number | Rgb | null;
  bg: number | Rgb | null;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  inverse: boolean;
}

const PLAIN: Pen = {
  fg: null,
  bg: null,
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  inverse: false,
};
// CSI sequences, OSC strings (ended by BEL or ST), two-byte escapes, and bare control characters.
const ESCAPE =
  // oxlint-disable-next-line no-control-regex
  /\x1b\[([0-9;:?<>=]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g;

/** Cut one line into spans of one look each. Empty for an empty line. */
export function parseAnsi(line: string): Span[] {
  if (!ESCAPE.test(line)) return line === "" ? [] : [{ text: line, classes: "" }];
  const spans: Span[] = [];
  let pen = PLAIN;
  let from = 0;
  ESCAPE.lastIndex = 0;
  for (const match of line.matchAll(ESCAPE)) {
    if (match.index > from) push(spans, line.slice(from, match.index), pen);
    from = match.index + match[0].length;
    if (match[2] === "m") pen = applySgr(pen, match[1] ?? "");
  }
  if (from < line.length) push(spans, line.slice(from), pen);
  return spans;
}

/** The line without any escape sequence or control character: what search and copy see. */
export function stripAnsi(line: string): string {
  return line.replace(ESCAPE, "");
}

function push(spans: Span[], text: string, pen: Pen): void {
  const fg = pen.inverse ? (pen.bg ?? "inverse") : pen.fg;
  const bg = pen.inverse ? (pen.fg ?? "inverse") : pen.bg;
  const classes: string[] = [];
  const span: Span = { text, classes: "" };
  if (typeof fg === "number") classes.push(`ansi-fg-${fg}`);
  else if (fg === "inverse") classes.push("ansi-fg-inverse");
  else if (fg) span.color = fg;
  if (typeof bg === "number") classes.push(`ansi-bg-${bg}`);
  else if (bg === "inverse") classes.push("ansi-bg-inverse");
  else if (bg) span.background = bg;
  if (pen.bold) classes.push("ansi-bold");
  if (pen.dim) classes.push("ansi-dim");
  if (pen.italic) classes.push("ansi-italic");
  if (pen.underline) classes.push("ansi-underline");
  span.classes = classes.join(" ");
  const last = spans.at(-1);
  if (
    last &&
    last.classes === span.classes &&
    last.color === span.color &&
    last.background === span.background
  ) {
    last.text += text;
  } else {
    spans.push(span);
  }
}

function applySgr(pen: Pen, parameters: string): Pen {
  const codes = parameters === "" ? [0] : parameters.split(/[;:]/).map((p) => (p === "" ? 0 : Number(p)));
  let next: Pen = { ...pen };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i] ?? 0;
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code === 39) next.fg = null;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code === 49) next.bg = null;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 38 || code === 48) {
      const [colour, used] = extendedColour(codes, i + 1);
      if (code === 38) next.fg = colour;
      else next.bg = colour;
      i += used;
    }
  }
  return next;
}

function extendedColour(codes: readonly number[], at: number): [number | Rgb | null, number] {
  if (codes[at] === 5) return [indexedColour(codes[at + 1] ?? 0), 2];
  if (codes[at] === 2) {
    const [r = 0, g = 0, b = 0] = codes.slice(at + 1, at + 4).map((c) => Math.min(255, c));
    return [[r, g, b], 4];
  }
  return [null, codes.length];
}

function indexedColour(index: number): number | Rgb {
  if (index < 16) return index;
  if (index >= 232) {
    const grey = 8 + (Math.min(index, 255) - 232) * 10;
    return [grey, grey, grey];
  }
  const cube = index - 16;
  const level = (n: number) => (n === 0 ? 0 : 55 + n * 40);
  return [level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)];
}

/**
 * `colour`, moved towards white or black just until it can be read on `ground` (4.5:1).
 * Programs choose colours for their author's terminal, not for the reader's theme.
 */
export function readable(colour: Rgb, ground: Rgb): Rgb {
  const towards = luminance(ground) < 0.18 ? 255 : 0;
  for (let step = 0; step <= 10; step += 1) {
    const mixed = colour.map((c) => Math.round(c + ((towards - c) * step) / 10)) as unknown as Rgb;
    if (contrast(mixed, ground) >= 4.5) return mixed;
  }
  return [towards, towards, towards];
}

/** WCAG contrast ratio of two colours, 1 to 21. */
export function contrast(a: Rgb, b: Rgb): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

function luminance([r, g, b]: Rgb): number {
  const linear = (c: number) => {
    const s = c / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}
