/** Slider for the smoothing of curves: from 0, as measured, to nearly 1. */
export function Smoothing({ weight, onWeight }: { weight: number; onWeight: (weight: number) => void }) {
  return (
    <label className="flex items-center gap-1.5 text-xs text-muted">
      Smoothing
      <input
        type="range"
        min={0}
        max={0.98}
        step={0.02}
        value={weight}
        onChange={(event) => onWeight(Number(event.target.value))}
        className="w-24"
      />
    </label>
  );
}
