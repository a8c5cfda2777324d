import { ChevronDown, ChevronUp, X } from "lucide-react";
import type { RefObject } from "react";
import { Button, Toggle } from "@/components/Button";
import { count } from "@/format/units";
import type { Find } from "./find";

interface Props {
  /** What is typed, and what was asked for with Enter. */
  text: string;
  asked: string;
  regex: boolean;
  find: Find;
  /** Index of the match that is shown; -1 before the first. */
  at: number;
  box: RefObject<HTMLInputElement | null>;
  onText: (text: string) => void;
  onAsk: () => void;
  onRegex: () => void;
  onStep: (direction: 1 | -1) => void;
}

/** Search bar of the log: query, number of matches, previous and next. */
export function FindBar({ text, asked, regex, find, at, box, onText, onAsk, onRegex, onStep }: Props) {
  return (
    <form
      role="search"
      aria-label="Log"
      className="flex items-center gap-1"
      onSubmit={(event) => {
        event.preventDefault();
        if (text === asked) onStep(1);
        else onAsk();
      }}
    >
      <input
        ref={box}
        type="search"
        value={text}
        aria-label="Find in the log"
        placeholder="Find in the log"
        onChange={(event) => onText(event.target.value)}
        className="field min-h-7 w-44 py-0.5 text-xs"
      />
      <Toggle
        on={regex}
        title="Search by regular expression"
        aria-label="Regular expression"
        onClick={onRegex}
      >
        .*
      </Toggle>
      {asked !== "" && (
        <>
          <span aria-live="polite" className="px-1 text-xs tabular text-muted">
            {describe(find, at)}
          </span>
          <Button
            small
            aria-label="Previous match"
            disabled={find.matches.length === 0}
            onClick={() => onStep(-1)}
          >
            <ChevronUp aria-hidden className="size-3.5" />
          </Button>
          <Button
            small
            aria-label="Next match"
            disabled={find.matches.length === 0}
            onClick={() => onStep(1)}
          >
            <ChevronDown aria-hidden className="size-3.5" />
          </Button>
          <Button small kind="quiet" aria-label="Clear the search" onClick={() => onText("")}>
            <X aria-hidden className="size-3.5" />
          </Button>
        </>
      )}
    </form>
  );
}

/** "3 of 17 lines", or why there is no number. */
function describe(find: Find, at: number): string {
  if (find.error !== null) return find.error;
  if (find.matches.length === 0) return find.busy ? "searching…" : "no matches";
  const place = at >= 0 ? `${at + 1} of ` : "";
  const number = `${count(find.matches.length)}${find.capped ? "+" : ""}`;
  return `${place}${number} ${find.matches.length === 1 ? "line" : "lines"}${find.busy ? "…" : ""}`;
}
