import { WifiOff } from "lucide-react";
import { useBox } from "@/api/queries";
import { Button } from "@/components/Button";
import { Ago, useNow } from "@/components/Time";
import { absolute } from "@/format/duration";
import { retryNow, useLive } from "@/live/live";

/** Shorter interruptions (a restart of the server) are over before a banner could be read. */
const PATIENCE_MS = 1_500;

/** Banner that says since when the data is out of date. */
export function StaleBanner() {
  const { phase, since } = useLive();
  const now = useNow();
  const box = useBox().data;
  if (phase === "down" && now - since >= PATIENCE_MS - 500) {
    return (
      <div
        role="status"
        data-stale
        className="sticky top-12 z-30 flex flex-wrap items-center gap-2 border-b border-bad bg-bad-soft px-4 py-1.5 text-sm text-bad"
      >
        <WifiOff aria-hidden className="size-4" />
        <span>
          Stale since {absolute(since).slice(11)}: the server does not answer. Running jobs are not affected,
          and this page reconnects by itself.
        </span>
        <Button small onClick={retryNow}>
          Try now
        </Button>
      </div>
    );
  }
  if (box?.stale) {
    return (
      <div
        role="status"
        className="flex items-center gap-2 border-b border-warn bg-warn-soft px-4 py-1.5 text-sm text-warn"
      >
        <WifiOff aria-hidden className="size-4 shrink-0" />
        <span>
          {box.taken_at == null ? (
            "The worker has not reported yet"
          ) : (
            <>
              The worker last looked at the GPUs <Ago time={box.taken_at} />
            </>
          )}
          . No job starts until it reports. Run <code>berth status</code> on the box to see why.
        </span>
      </div>
    );
  }
  return null;
}
