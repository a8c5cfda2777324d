/** Follows the end of a growing log until the attempt has ended. */
import { api } from "@/api/endpoints";
import type { LogEnd } from "@/api/types";
import type { LogBuffer, Slice } from "./buffer";

const RETRY_MS = [500, 1_000, 2_000, 4_000];
/** A flood of small pieces becomes at most this many looks per second. */
const LOOK_MS = 100;

/** Start following; returns what ends it. `ended` is called once, when nothing more will come. */
export function followLog(id: number, attempt: number | undefined, buffer: LogBuffer, ended: (end: LogEnd) => void): () => void {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let look: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let lastLook = 0;
  let looking = false;
  let stopped = false;

  const fetchEnd = async () => {
    look = undefined;
    if (looking) {
      glance();
      return;
    }
    looking = true;
    lastLook = Date.now();
    try {
      // From the last known line on: it may have grown, as progress bars do.
      const from = Math.max(0, buffer.total - 1);
      const slice = await api.logLines(id, { from, count: 2_000, ...(attempt === undefined ? {} : { attempt }) });
      if (stopped) return;
      buffer.take(slice.first + slice.lines.length < slice.total ? await newest(slice.total) : slice);
    } catch {
      // The stream's own failure handling tries again.
    } finally {
      looking = false;
    }
  };
  const newest = (total: number) => api.logLines(id, { from: Math.max(0, total - 500), count: 1_000, ...(attempt === undefined ? {} : { attempt }) });
  const glance = () => {
    if (look === undefined && !stopped) look = setTimeout(() => void fetchEnd(), Math.max(0, lastLook + LOOK_MS - Date.now()));
  };

  const connect = () => {
    const parameters = new URLSearchParams({ offset: String(buffer.sizeBytes), from_line: String(Math.max(0, buffer.total - 1)), format: "lines" });
    if (attempt !== undefined) parameters.set("attempt", String(attempt));
    source = new EventSource(`/api/v1/jobs/${id}/log/stream?${parameters.toString()}`);
    source.onopen = () => {
      failures = 0;
    };
    source.addEventListener("lines", (event: MessageEvent<string>) => buffer.take(JSON.parse(event.data) as Slice));
    source.addEventListener("log", glance);
    source.addEventListener("end", (event: MessageEvent<string>) => {
      source?.close();
      void fetchEnd().then(() => {
        if (!stopped) ended(JSON.parse(event.data) as LogEnd);
      });
    });
    source.addEventListener("bye", again);
    source.onerror = again;
  };
  const again = () => {
    source?.close();
    if (stopped) return;
    clearTimeout(retry);
    retry = setTimeout(connect, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    failures += 1;
  };

  connect();
  return () => {
    stopped = true;
    source?.close();
    clearTimeout(retry);
    clearTimeout(look);
  };
}
