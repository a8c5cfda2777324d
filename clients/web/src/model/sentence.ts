/** The server's sentences taken apart: what is code, a time, or a job that can be opened. */

export type Piece =
  | { kind: "text" | "code"; text: string }
  | { kind: "time"; at: number }
  | { kind: "job"; text: string; id: number };

const PARTS =
  /`([^`]+)`|(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC|\b([Jj]ob (\d+)|(?<=\bjobs (?:\d+, )*)(\d+))\b|\b(\d+[dhm])(?=\d+[hms]\b)/g;

/**
 * Pieces in order. Sentences name times in UTC, because a terminal may stand anywhere; a page shows
 * every time in the reader's own zone. Durations get the space that they have everywhere else here.
 */
export function pieces(sentence: string): Piece[] {
  const found: Piece[] = [];
  let open = "";
  const close = () => {
    if (open !== "") found.push({ kind: "text", text: open });
    open = "";
  };
  let from = 0;
  for (const match of sentence.matchAll(PARTS)) {
    const [whole, code, day, hour, job, id, listed, unit] = match;
    open += sentence.slice(from, match.index);
    from = match.index + whole.length;
    if (unit !== undefined) {
      open += `${unit} `;
      continue;
    }
    close();
    if (code !== undefined) found.push({ kind: "code", text: code });
    else if (job !== undefined) found.push({ kind: "job", text: job, id: Number(id ?? listed) });
    else found.push({ kind: "time", at: Date.parse(`${day}T${hour}:00Z`) });
  }
  open += sentence.slice(from);
  close();
  return found;
}

/** A reason without the start and the place that it ends with, for where both stand beside it. */
export function withoutForecast(reason: string): string {
  return reason.replace(/ (Expected start: [^.]*|Place \d+ in the queue)\.$/, "");
}
