/**
 * The part of a log that is in memory: pages of lines, the least used let go.
 *
 * A log may have millions of lines; whatever is not held is fetched again when it comes into
 * view, so memory stays flat however long one reads or follows.
 */

export interface Slice {
  /** Number of the first line; lines count from 0. */
  first: number;
  lines: readonly string[];
  total: number;
  size_bytes: number;
  complete: boolean;
  /** Unix seconds at which each line was written; null where unknown. Empty without times. */
  times?: readonly (number | null)[];
}

export type Fetch = (from: number, count: number) => Promise<Slice>;

export const PAGE = 500;
const MOST_PAGES = 60;
const LONGEST_LINE = 20_000;

export class LogBuffer {
  total = 0;
  sizeBytes = 0;
  complete = false;
  private pages = new Map<number, (string | undefined)[]>();
  private stamps = new Map<number, (number | null | undefined)[]>();
  private readonly asked = new Set<number>();
  /** Pages of which the server had nothing more, though there should be: not asked for again. */
  private readonly dry = new Set<number>();

  constructor(
    private readonly fetch: Fetch,
    private readonly changed: () => void,
    private readonly failed: (error: unknown) => void = () => {},
  ) {}

  /** The text of a line as a terminal would show it; undefined while it is not here. */
  line(number: number): string | undefined {
    return this.pages.get(Math.floor(number / PAGE))?.[number % PAGE];
  }

  /** Unix seconds at which a line was written; null where nobody knows, undefined while it is not here. */
  time(number: number): number | null | undefined {
    return this.stamps.get(Math.floor(number / PAGE))?.[number % PAGE];
  }

  /** Number in the log of the line at a place: here they are the same. */
  number(at: number): number {
    return at;
  }

  /** Fetch what is missing between two lines (the last included). */
  want(first: number, last: number): void {
    const end = Math.min(last, this.total - 1);
    for (let page = Math.floor(Math.max(0, first) / PAGE); page * PAGE <= end; page += 1) {
      if (this.hole(page) !== undefined && !this.asked.has(page) && !this.dry.has(page)) void this.load(page);
      else this.touch(page);
    }
  }

  /** Take lines in, from a page or from the end of a growing log. */
  take(slice: Slice): void {
    if (slice.total < this.total) {
      this.pages.clear();
      this.stamps.clear();
    }
    if (slice.total !== this.total) this.dry.clear();
    this.total = slice.total;
    this.sizeBytes = Math.max(this.sizeBytes, slice.size_bytes);
    this.complete = slice.complete;
    slice.lines.forEach((text, i) => {
      const number = slice.first + i;
      const page = Math.floor(number / PAGE);
      let lines = this.pages.get(page);
      if (!lines) {
        lines = [];
        this.pages.set(page, lines);
      }
      lines[number % PAGE] = shortened(text);
      const time = slice.times?.[i];
      if (time === undefined) return;
      let stamps = this.stamps.get(page);
      if (!stamps) {
        stamps = [];
        this.stamps.set(page, stamps);
      }
      stamps[number % PAGE] = time;
    });
    this.evict();
    this.changed();
  }

  /** How many lines are held; for tests of the promise that memory stays flat. */
  get held(): number {
    let sum = 0;
    for (const lines of this.pages.values()) sum += lines.length;
    return sum;
  }

  private async load(page: number): Promise<void> {
    this.asked.add(page);
    try {
      // An answer ends early when its lines are very long: ask on from the first hole.
      for (let hole = this.hole(page); hole !== undefined; hole = this.hole(page)) {
        const slice = await this.fetch(hole, (page + 1) * PAGE - hole);
        // What followed the log meanwhile may know more lines than this older answer.
        this.take({
          ...slice,
          total: Math.max(slice.total, this.total),
          complete: slice.complete || this.complete,
        });
        if (slice.lines.length === 0) {
          this.dry.add(page);
          break;
        }
      }
    } catch (error) {
      this.failed(error);
    } finally {
      this.asked.delete(page);
    }
  }

  /** The first line of a page that is not here; undefined when all are. */
  private hole(page: number): number | undefined {
    const lines = this.pages.get(page);
    const expected = Math.min(PAGE, this.total - page * PAGE);
    for (let i = 0; i < expected; i += 1) if (lines?.[i] === undefined) return page * PAGE + i;
    return undefined;
  }

  private touch(page: number): void {
    const lines = this.pages.get(page);
    if (!lines) return;
    this.pages.delete(page);
    this.pages.set(page, lines);
  }

  private evict(): void {
    for (const page of this.pages.keys()) {
      if (this.pages.size <= MOST_PAGES) return;
      this.pages.delete(page);
      this.stamps.delete(page);
    }
  }
}

/** The beginning of a line too long to lay out; the server has left what a terminal shows of it. */
export function shortened(line: string): string {
  return line.length > LONGEST_LINE
    ? `${line.slice(0, LONGEST_LINE)} … (line cut at 20,000 characters; the download has it whole)`
    : line;
}
