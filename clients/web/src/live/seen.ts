/** Report of which event the answers to this page reach: what came later must come by the stream. */
let sink: (id: number) => void = () => {};
let least = Infinity;

/** An answer was made when event `id` was the newest. Reported when it is the oldest so far. */
export function seen(id: number): void {
  if (!Number.isFinite(id) || id >= least) return;
  least = id;
  sink(id);
}

export function onSeen(take: (id: number) => void): void {
  sink = take;
}
