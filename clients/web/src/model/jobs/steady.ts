/** Merging of a list as it is shown with the list as it is now. */

/**
 * `kept` in its order with what is known of each now, and the number of entries new, gone or moved.
 * What was added at the end stands there: it moves nothing.
 */
export function merged<T extends { id: number }>(
  kept: readonly T[],
  items: readonly T[],
): { shown: T[]; changes: number } {
  const now = new Map(items.map((one) => [one.id, one]));
  const known = new Set(kept.map((one) => one.id));
  const end = items.findLastIndex((one) => known.has(one.id)) + 1;
  const added = end === 0 ? [] : items.slice(end);
  const fresh = items.slice(0, end).filter((one) => !known.has(one.id)).length;
  const gone = kept.filter((one) => !now.has(one.id)).length;
  const order = items.filter((one) => known.has(one.id)).map((one) => one.id);
  const before = kept.filter((one) => now.has(one.id)).map((one) => one.id);
  const moved = order.filter((id, i) => id !== before[i]).length;
  const shown = [...kept.map((one) => now.get(one.id) ?? one), ...added];
  return { shown, changes: fresh + gone + moved + (end === 0 ? items.length : 0) };
}
