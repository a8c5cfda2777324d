/** Numbers with their units. Absent values are an en dash, never a zero. */

const GIB = 1024 ** 3;
export const ABSENT = "–";

/** "512 B", "1.5 KiB", "31.2 GiB": powers of 1024, one decimal below a hundred. */
export function bytes(size: number | null | undefined): string {
  if (size === null || size === undefined) return ABSENT;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = size;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1);
  return `${text} ${units[unit]}`;
}

/** GiB as a bare number, for "31.2 / 80.0 GiB". */
export function gib(size: number | null | undefined): string {
  if (size === null || size === undefined) return ABSENT;
  const value = size / GIB;
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

/** GiB where there is little room and the exact number is one hover away: "71", "4.2", "0". */
export function roundGib(size: number | null | undefined): string {
  if (size === null || size === undefined) return ABSENT;
  const value = size / GIB;
  return value >= 10 || value < 0.05 ? value.toFixed(0) : value.toFixed(1);
}

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? ABSENT : `${Math.round(value)} %`;
}

export function watts(value: number | null | undefined): string {
  return value === null || value === undefined ? ABSENT : `${Math.round(value)} W`;
}

export function celsius(value: number | null | undefined): string {
  return value === null || value === undefined ? ABSENT : `${Math.round(value)} °C`;
}

/** "1,203,441": grouped by thousands the same way in every browser. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** "15,624.10": so many decimals, grouped by thousands. */
export function fixed(value: number, decimals: number): string {
  return value.toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

/** "1 GPU", "4 GPUs". */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A measured number in at most five significant digits: 0.012346, 1.2e-5, 1234.6. */
export function metric(value: number | null | undefined): string {
  if (value === null || value === undefined) return ABSENT;
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return count(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return Number(value.toPrecision(4)).toExponential();
  return value.toLocaleString("en-US", { maximumSignificantDigits: 5 });
}

/** Points with their sign, to the hundredth: "+0.83", "−8.20", "0". */
export function signed(points: number): string {
  const text = Math.abs(points).toFixed(2);
  if (Number(text) === 0) return "0";
  return `${points < 0 ? "−" : "+"}${text}`;
}
