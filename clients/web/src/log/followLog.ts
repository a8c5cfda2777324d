/** Follower of a growing log, by server-sent events, until the attempt has ended. */
import { onLive } from "@/live/live";
import type { LogBuffer, Slice } from "./buffer";

const RETRY_MS = [500, 1_000, 2_000];
/** The server pings every 5 s; silence beyond this is a dead line. */
const SILENCE_MS = 13_000;

/** Start following; returns what ends it. `ended` is called once, when nothing more will come. */
export function followLog(
  id: number,
  attempt: number | undefined,
  buffer: LogBuffer,
  ended: () => void,
): () => void {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let stopped = false;

  const alive = () => {
    failures = 0;
    clearTimeout(silence);
    silence = setTimeout(again, SILENCE_MS);
  };
  const connect = () => {
    source?.close();
    clearTimeout(retry);
    const parameters = new URLSearchParams({ from: String(Math.max(0, buffer.total - 1)) });
    if (attempt !== undefined) parameters.set("attempt", String(attempt));
    source = new EventSource(`/api/v1/jobs/${id}/log/tail?${parameters.toString()}`);
    source.onopen = alive;
    source.addEventListener("ping", alive);
    source.addEventListener("lines", (event: MessageEvent<string>) => {
      alive();
      const slice = JSON.parse(event.data) as Slice;
      // What has just come was written just now, where the worker has not said so yet.
      const now = Date.now() / 1000;
      const times = slice.times?.map((time, i) => time ?? (slice.first + i >= buffer.total ? now : null));
      buffer.take(times ? { ...slice, times } : slice);
    });
    source.addEventListener("end", () => {
      stop();
      ended();
    });
    source.addEventListener("bye", again);
    source.onerror = again;
  };
  const again = () => {
    source?.close();
    clearTimeout(silence);
    clearTimeout(retry);
    if (stopped) return;
    retry = setTimeout(connect, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    failures += 1;
  };
  const stop = () => {
    stopped = true;
    forget();
    source?.close();
    clearTimeout(retry);
    clearTimeout(silence);
  };

  // The page's own stream is back: so is the log, without waiting out the rest of the pause.
  const forget = onLive(() => {
    if (source?.readyState !== EventSource.OPEN) connect();
  });
  connect();
  return stop;
}
