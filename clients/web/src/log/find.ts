/** Search in a log: the server searches, the page steps from match to match. */
import { useEffect, useRef, useState } from "react";
import { api } from "@/api/endpoints";
import type { LogMatch } from "@/api/types";

export interface Find {
  matches: readonly LogMatch[];
  /** The server is still looking. */
  busy: boolean;
  error: string | null;
  /** There are more matches than are listed. */
  capped: boolean;
}

const MOST = 2_000;

/** Look for `text` in the whole log, again when it changes; an empty text finds nothing. */
export function useFind(id: number, attempt: number | undefined, text: string, regex: boolean): Find {
  const [found, setFound] = useState<Find>({ matches: [], busy: false, error: null, capped: false });
  const round = useRef(0);
  useEffect(() => {
    round.current += 1;
    const mine = round.current;
    if (text === "") {
      setFound({ matches: [], busy: false, error: null, capped: false });
      return;
    }
    const abort = new AbortController();
    const look = async () => {
      let cursor: string | undefined;
      let matches: LogMatch[] = [];
      setFound({ matches, busy: true, error: null, capped: false });
      for (;;) {
        const query = {
          q: text,
          regex,
          limit: MOST - matches.length,
          ...(attempt === undefined ? {} : { attempt }),
          ...(cursor === undefined ? {} : { cursor }),
        };
        const answer = await api.logSearch(id, query, abort.signal);
        if (mine !== round.current) return;
        matches = [...matches, ...answer.matches];
        const done = answer.next == null || matches.length >= MOST;
        setFound({
          matches,
          busy: !done,
          error: null,
          capped: matches.length >= MOST && answer.next != null,
        });
        if (done) return;
        cursor = answer.next ?? undefined;
      }
    };
    const timer = setTimeout(() => {
      look().catch((reason: unknown) => {
        if (mine === round.current && !abort.signal.aborted) {
          setFound({
            matches: [],
            busy: false,
            error: reason instanceof Error ? reason.message : "The search failed.",
            capped: false,
          });
        }
      });
    }, 250);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [id, attempt, text, regex]);
  return found;
}

/** The pattern that marks what was searched, for the lines on screen; null when it cannot be one. */
export function pattern(text: string, regex: boolean): RegExp | null {
  if (text === "") return null;
  try {
    return new RegExp(regex ? text : text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`), "gi");
  } catch {
    return null;
  }
}

/** Index of the match after (or before) `line`, around the ends; -1 without any. */
export function neighbour(matches: readonly LogMatch[], line: number, direction: 1 | -1): number {
  if (matches.length === 0) return -1;
  if (direction === 1) {
    const after = matches.findIndex((m) => m.number > line);
    return after === -1 ? 0 : after;
  }
  const before = matches.findLastIndex((m) => m.number < line);
  return before === -1 ? matches.length - 1 : before;
}
