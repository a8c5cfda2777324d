import { useRef, useState } from "react";
import type { PlanTrial as Trial } from "@/api/endpoints";
import { draggedLimit } from "@/model/plan/trial";
import type { Piece } from "@/model/plan/rows";

/** End of a planned bar: dragging it tries another time limit; fields and table do the same by keyboard. */
export function Handle({
  piece,
  spanMs,
  onTry,
}: {
  piece: Piece;
  spanMs: number;
  onTry: (trial: Trial) => void;
}) {
  const from = useRef<number>(undefined);
  const [moved, setMoved] = useState(0);
  return (
    <span
      aria-hidden
      data-handle={piece.bar.job_id}
      title="Drag to try another time limit"
      className="absolute inset-y-0 z-10 w-2.5 -translate-x-1/2 cursor-ew-resize touch-none border-r-2 border-ink/50 hover:border-accent"
      style={{ left: `calc(${piece.to * 100}% + ${moved}px)` }}
      onPointerDown={(event) => {
        from.current = event.clientX;
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        if (from.current !== undefined) setMoved(event.clientX - from.current);
      }}
      onPointerUp={(event) => {
        const width = event.currentTarget.parentElement?.clientWidth ?? 1;
        const by = event.clientX - (from.current ?? event.clientX);
        from.current = undefined;
        setMoved(0);
        onTry({ job: piece.bar.job_id, time_limit: draggedLimit(piece.bar, (by / width) * spanMs) });
      }}
      onPointerCancel={() => {
        from.current = undefined;
        setMoved(0);
      }}
    />
  );
}
