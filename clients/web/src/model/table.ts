/** Tables: sorting by a column, and the columns that are shown. */

export interface Sort {
  key: string;
  down: boolean;
}

/** "-gpus" in an address is GPUs, greatest first. */
export function parseSort(text: string | undefined): Sort | undefined {
  if (!text) return undefined;
  return text.startsWith("-") ? { key: text.slice(1), down: true } : { key: text, down: false };
}

export function sortText(sort: Sort | undefined): string | undefined {
  return sort && `${sort.down ? "-" : ""}${sort.key}`;
}

/** The order after a press on the head of column `key`; the second press turns it around. */
export function pressed(now: Sort | undefined, key: string, firstDown: boolean): Sort {
  return now?.key === key ? { key, down: !now.down } : { key, down: firstDown };
}

export type Cell = string | number | null | undefined;

/** Rows by a value of theirs: numbers by size, texts as people sort them, rows without one last. */
export function sorted<T>(rows: readonly T[], value: (row: T) => Cell, down: boolean): T[] {
  const way = down ? -1 : 1;
  const absent = (cell: Cell) =>
    cell === null || cell === undefined || cell === "" || (typeof cell === "number" && Number.isNaN(cell));
  return rows
    .map((row) => ({ row, cell: value(row) }))
    .sort((a, b) => {
      if (absent(a.cell) || absent(b.cell)) return Number(absent(a.cell)) - Number(absent(b.cell));
      if (typeof a.cell === "number" && typeof b.cell === "number") return way * (a.cell - b.cell);
      return way * String(a.cell).localeCompare(String(b.cell), "en", { numeric: true, sensitivity: "base" });
    })
    .map(({ row }) => row);
}

/** Known names of a comma-separated list, in the table's own order; undefined for none or the default. */
export function chosenColumns(
  text: string | undefined,
  all: readonly string[],
  usual: readonly string[],
): readonly string[] {
  if (text === undefined) return usual;
  const wanted = new Set(text.split(","));
  const found = all.filter((name) => wanted.has(name));
  return found.length > 0 ? found : usual;
}
