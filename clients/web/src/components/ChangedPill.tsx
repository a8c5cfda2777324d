import { plural } from "@/format/units";
import { Button } from "./Button";

/** Says that the list below holds still, and shows it as it is now. Takes its place in any case. */
export function ChangedPill({ changes, release }: { changes: number; release: () => void }) {
  if (changes === 0) return null;
  return (
    <div className="pointer-events-none sticky top-14 z-20 h-0 text-center" role="status">
      <Button small kind="primary" className="pointer-events-auto shadow" onClick={release}>
        {plural(changes, "change")}: show
      </Button>
    </div>
  );
}
