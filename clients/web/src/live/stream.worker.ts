/** SharedWorker with one hub for all pages of this browser. */
import { browserEnvironment, Hub } from "./hub";
import type { FromHub, ToHub } from "./messages";

const hub = new Hub(browserEnvironment);

interface ConnectScope {
  onconnect: ((event: MessageEvent) => void) | null;
}

(self as unknown as ConnectScope).onconnect = (event) => {
  const port = event.ports[0];
  if (!port) return;
  const listener = (message: FromHub) => port.postMessage(message);
  port.onmessage = ({ data }: MessageEvent<ToHub>) => {
    if (data.type === "visible") hub.show(listener);
    else if (data.type === "hidden") hub.hide(listener);
    else if (data.type === "leaving") hub.leave(listener);
    else if (data.type === "seen") hub.seen(listener, data.id);
    else hub.retry();
  };
};
