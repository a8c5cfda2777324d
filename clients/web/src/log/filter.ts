/** Filter of a log by rank and level: the server finds the lines, the view shows only these. */
import { useEffect, useMemo, useState } from "react";
import { api } from "@/api/endpoints";
import type { LogMatch } from "@/api/types";

export type Level = "warnings" | "errors";

const ERRORS = "error|exception|traceback|fatal|critical|killed|segfault|out of memory|assert";
const WORDS: Record<Level, string> = { errors: ERRORS, warnings: `${ERRORS}|warn|deprecat` };
const MOST = 20_000;
const AGAIN_MS = 5_000;

/** Expression of the lines of a rank (as launchers mark them: "[rank3]:", "[default3]:") and a level. */
export function filterPattern(rank: number | undefined, level: Level | undefined): string {
  const marks = rank === undefined ? "" : String.raw`\[(?:rank|default)${rank}\]`;
  const words = level === undefined ? "" : `(?:${WORDS[level]})`;
  if (marks === "") return words;
  return words === "" ? `^${marks}` : `^${marks}.*${words}`;
}

/** Lines of a log that a filter lets through, for the view: what it shows and their numbers. */
export class FilteredLines {
  readonly total: number;

  constructor(private readonly matches: readonly LogMatch[]) {
    this.total = matches.length;
  }

  line(at: number): string | undefined {
    return this.matches[at]?.text;
  }

  /** Number in the log of the line at a place. */
  number(at: number): number {
    return this.matches[at]?.number ?? at;
  }

  /** Place of a line of the log, or of the next one that is shown. */
  place(number: number): number {
    const at = this.matches.findIndex((match) => match.number >= number);
    return at === -1 ? Math.max(0, this.total - 1) : at;
  }

  want(): void {}
}

export interface Filtered {
  lines: FilteredLines;
  busy: boolean;
  capped: boolean;
  error: string | null;
}

/** The lines that match `pattern`, again every few seconds while the log grows; undefined without one. */
export function useFiltered(
  id: number,
  attempt: number | undefined,
  pattern: string,
  growing: boolean,
): Filtered | undefined {
  const [found, setFound] = useState<{
    pattern: string;
    matches: LogMatch[];
    busy: boolean;
    capped: boolean;
  }>();
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    setError(null);
    if (pattern === "") return;
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      let cursor: string | undefined;
      let matches: LogMatch[] = [];
      for (;;) {
        const query = {
          q: pattern,
          regex: true,
          limit: Math.min(5_000, MOST - matches.length),
          ...(attempt === undefined ? {} : { attempt }),
          ...(cursor === undefined ? {} : { cursor }),
        };
        const answer = await api.logSearch(id, query, abort.signal);
        matches = [...matches, ...answer.matches];
        const more = answer.next != null;
        const done = !more || matches.length >= MOST;
        // A later round shows its result whole: the list does not shrink and grow.
        setFound((before) =>
          done || before?.pattern !== pattern || before.busy
            ? { pattern, matches, busy: !done, capped: more && done }
            : before,
        );
        if (done) break;
        cursor = answer.next ?? undefined;
      }
      if (growing) timer = setTimeout(() => void look().catch(failed), AGAIN_MS);
    };
    const failed = (reason: unknown) => {
      if (!abort.signal.aborted) setError(reason instanceof Error ? reason.message : "The filter failed.");
    };
    look().catch(failed);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [id, attempt, pattern, growing]);
  const matches = found?.pattern === pattern ? found.matches : undefined;
  const lines = useMemo(() => new FilteredLines(matches ?? []), [matches]);
  if (pattern === "") return undefined;
  return {
    lines,
    busy: matches === undefined || (found?.busy ?? true),
    capped: found?.pattern === pattern && found.capped,
    error,
  };
}
