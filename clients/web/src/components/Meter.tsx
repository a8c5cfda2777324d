import clsx from "clsx";

interface Part {
  share: number;
  className: string;
  color?: string;
}

/** A bar of parts between 0 and 1, described to assistive technology by one label. */
export function Bar({
  parts,
  label,
  thin = false,
}: {
  parts: readonly Part[];
  label: string;
  thin?: boolean;
}) {
  return (
    <div
      role="img"
      aria-label={label}
      title={label}
      className={clsx("flex w-full overflow-hidden rounded-full bg-sunken", thin ? "h-1.5" : "h-2")}
    >
      {parts.map((part, i) => (
        <div
          key={i}
          className={part.className}
          style={{
            width: `${Math.min(1, Math.max(0, part.share)) * 100}%`,
            ...(part.color ? { background: part.color } : {}),
          }}
        />
      ))}
    </div>
  );
}

/** A line over time, 0 to 100, newest at the right. `null` leaves a gap. */
export function Sparkline({
  values,
  label,
  color = "var(--color-accent)",
}: {
  values: readonly (number | null)[];
  label: string;
  color?: string;
}) {
  const width = 200;
  const height = 28;
  const step = width / Math.max(1, values.length - 1);
  let path = "";
  values.forEach((value, i) => {
    if (value === null) return;
    const command = i === 0 || values[i - 1] === null ? "M" : "L";
    path += `${command}${(i * step).toFixed(1)} ${(height - 1 - (Math.min(100, Math.max(0, value)) / 100) * (height - 2)).toFixed(1)}`;
  });
  return (
    <svg
      role="img"
      aria-label={label}
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      className="h-7 w-full"
    >
      <title>{label}</title>
      <path
        d={`M0 ${height - 0.5}H${width}`}
        stroke="var(--color-line)"
        strokeWidth="1"
        vectorEffect="non-scaling-stroke"
      />
      <path
        d={path}
        fill="none"
        stroke={color}
        strokeWidth="1.5"
        strokeLinejoin="round"
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}
