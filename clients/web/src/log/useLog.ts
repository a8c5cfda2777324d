/** Hook that opens a log at its end and follows it while it grows. */
import { useEffect, useMemo, useReducer, useState } from "react";
import { api } from "@/api/endpoints";
import { LogBuffer } from "./buffer";
import { followLog } from "./followLog";

export interface OpenLog {
  buffer: LogBuffer;
  version: number;
  /** The first lines are here. */
  ready: boolean;
  error: unknown;
  retry: () => void;
}

/** `attempt` undefined: the newest one. `exists`: there is an attempt to read from. */
export function useLog(id: number, attempt: number | undefined, exists: boolean): OpenLog {
  const [version, changed] = useReducer((n: number) => n + 1, 0);
  const [round, retry] = useReducer((n: number) => n + 1, 0);
  const [ready, setReady] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const buffer = useMemo(
    () => new LogBuffer((from, count) => lines(id, attempt, from, count), changed, setError),
    [id, attempt],
  );
  useEffect(() => {
    if (!exists) return;
    const abort = new AbortController();
    let stop = () => {};
    setReady(false);
    setError(null);
    lines(id, attempt, -500, 500, abort.signal)
      .then((slice) => {
        buffer.take(slice);
        setReady(true);
        if (!slice.complete) stop = followLog(id, attempt, buffer, changed);
      })
      .catch((reason: unknown) => {
        if (!abort.signal.aborted) setError(reason);
      });
    return () => {
      abort.abort();
      stop();
    };
  }, [id, attempt, buffer, exists, round]);
  return { buffer, version, ready, error, retry };
}

function lines(id: number, attempt: number | undefined, from: number, count: number, signal?: AbortSignal) {
  return api.logLines(id, { from, count, ...(attempt === undefined ? {} : { attempt }) }, signal);
}
