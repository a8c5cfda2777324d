import { Link } from "@tanstack/react-router";
import { absolute, wallClock } from "@/format/duration";
import { pieces } from "@/model/sentence";
import { useNow } from "./Time";

/** A sentence of the server's: code as code, times in the reader's zone, jobs as links. */
export function Told({ text, links = true }: { text: string; links?: boolean }) {
  const now = useNow();
  return (
    <>
      {pieces(text).map((piece, i) => {
        if (piece.kind === "code")
          return (
            <code key={i} className="text-[0.95em]">
              {piece.text}
            </code>
          );
        if (piece.kind === "time")
          return (
            <time key={i} dateTime={new Date(piece.at).toISOString()} title={absolute(piece.at)}>
              {wallClock(piece.at, now)}
            </time>
          );
        if (piece.kind === "job" && links)
          return (
            <Link
              key={i}
              to="/jobs/$jobId"
              params={{ jobId: String(piece.id) }}
              className="text-accent underline"
            >
              {piece.text}
            </Link>
          );
        return piece.text;
      })}
    </>
  );
}
