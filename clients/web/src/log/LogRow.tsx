import clsx from "clsx";
import { memo } from "react";
import { parseAnsi, readable, stripAnsi } from "./ansi";
import type { Rgb, Span } from "./ansi";
import { linked } from "./links";
import { absoluteInZone, wallSeconds } from "@/format/duration";

interface Props {
  number: number;
  /** Unix seconds at which it was written; null where unknown. Undefined: no times are shown. */
  time: number | null | undefined;
  text: string | undefined;
  wrap: boolean;
  marked: boolean;
  /** What to highlight; the same test as the search uses. */
  find: RegExp | null;
  ground: Rgb;
  onMark: (line: number) => void;
}

const STDERR_LOOK =
  /^\s*(Traceback \(most recent call last\)|[\w.]*(Error|Exception)\b.*:|\[rank\d+\]:?\s*(Traceback|\w*Error))/;

/** One log line: its number links to it, its text keeps the program's colours. */
export const LogRow = memo(function LogRow({
  number,
  time,
  text,
  wrap,
  marked,
  find,
  ground,
  onMark,
}: Props) {
  return (
    <div
      data-line={number}
      className={clsx(
        "flex min-h-[18px]",
        marked && "bg-accent-soft",
        text !== undefined && STDERR_LOOK.test(text) && "bg-bad-soft",
      )}
    >
      <a
        href={`?line=${number + 1}`}
        tabIndex={-1}
        aria-label={`Link to line ${number + 1}`}
        onClick={(event) => {
          event.preventDefault();
          onMark(number);
        }}
        className="sticky left-0 w-[4.5rem] shrink-0 bg-(--log-ground) pr-3 text-right text-muted tabular select-none hover:text-accent"
      >
        {number + 1}
      </a>
      {time !== undefined && (
        <span
          className="w-[5.5rem] shrink-0 text-muted tabular select-none"
          title={time === null ? "The time of this line is not known" : absoluteInZone(time * 1000)}
        >
          {time === null ? "–" : wallSeconds(time * 1000)}
        </span>
      )}
      <span className={clsx("flex-1 pr-4", wrap ? "wrap-anywhere whitespace-pre-wrap" : "whitespace-pre")}>
        {text === undefined ? (
          <span className="text-muted">…</span>
        ) : (
          <Text text={text} find={find} ground={ground} />
        )}
      </span>
    </div>
  );
});

function Text({ text, find, ground }: { text: string; find: RegExp | null; ground: Rgb }) {
  const spans = parseAnsi(text);
  const hits = find ? matches(stripAnsi(text), find) : [];
  return (
    <>
      {(hits.length === 0 ? spans : cut(spans, hits)).map((span, i) => (
        <SpanView key={i} span={span} ground={ground} />
      ))}
    </>
  );
}

function SpanView({ span, ground }: { span: Span & { hit?: boolean }; ground: Rgb }) {
  const style = {
    ...(span.color ? { color: `rgb(${readable(span.color, span.background ?? ground).join(" ")})` } : {}),
    ...(span.background ? { background: `rgb(${span.background.join(" ")})` } : {}),
  };
  if (span.hit) return <mark className="rounded-xs bg-[#ffd75e] text-[#15202b]">{span.text}</mark>;
  return (
    <span className={span.classes || undefined} style={style}>
      {linked(span.text).map((part, i) =>
        part.link ? (
          <a
            key={i}
            href={part.text}
            target="_blank"
            rel="noopener noreferrer nofollow"
            tabIndex={-1}
            className="underline"
          >
            {part.text}
          </a>
        ) : (
          part.text
        ),
      )}
    </span>
  );
}

function matches(text: string, find: RegExp): [number, number][] {
  const found: [number, number][] = [];
  for (const match of text.matchAll(find)) {
    if (match[0].length > 0) found.push([match.index, match.index + match[0].length]);
    if (found.length >= 50) break;
  }
  return found;
}

/** Spans cut at the borders of the hits, the parts inside marked. */
export function cut(spans: readonly Span[], hits: readonly [number, number][]): (Span & { hit?: boolean })[] {
  const parts: (Span & { hit?: boolean })[] = [];
  let at = 0;
  for (const span of spans) {
    let from = 0;
    for (const [start, end] of hits) {
      const a = Math.max(0, Math.min(span.text.length, start - at));
      const b = Math.max(0, Math.min(span.text.length, end - at));
      if (b <= a) continue;
      if (a > from) parts.push({ ...span, text: span.text.slice(from, a) });
      parts.push({ ...span, text: span.text.slice(a, b), hit: true });
      from = b;
    }
    if (from < span.text.length) parts.push({ ...span, text: span.text.slice(from) });
    at += span.text.length;
  }
  return parts;
}
