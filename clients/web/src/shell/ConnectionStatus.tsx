import { Radio, RefreshCw, WifiOff } from "lucide-react";
import { useLive } from "@/live/live";
import { timeOfDay } from "@/format/duration";

const WORDS = {
  live: { icon: Radio, text: "live", look: "text-good" },
  connecting: { icon: RefreshCw, text: "connecting", look: "text-muted" },
  paused: { icon: RefreshCw, text: "paused", look: "text-muted" },
  down: { icon: WifiOff, text: "stale", look: "text-bad" },
} as const;

/** State of the event stream: live, connecting, paused or stale. */
export function ConnectionStatus() {
  const { phase, since } = useLive();
  const { icon: Icon, text, look } = WORDS[phase];
  return (
    <span
      className={`flex items-center gap-1 text-xs ${look}`}
      title={`${text} since ${timeOfDay(since)}`}
      data-stream={phase}
    >
      <Icon aria-hidden className="size-3.5" />
      <span className="sr-only sm:not-sr-only">{text}</span>
    </span>
  );
}
