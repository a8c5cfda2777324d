"""The table as bars, written as SVG by hand: six figures, one row for each policy."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import log10
from pathlib import Path

PANELS = (
    ("JCT mean", "mean JCT, h", False),
    ("slowdown p95", "bounded slowdown, p95 (log)", True),
    ("wait 1 mean", "mean wait of 1 GPU, h", False),
    ("wait 8 mean", "mean wait of 8 GPUs, h", False),
    ("wait 8 worst", "worst wait of 8 GPUs, h", False),
    ("utilisation %", "utilisation, %", False),
)
WIDE, ROW, TOP, LEFT, BAR = 330, 20, 44, 150, 120


def draw(rows: Mapping[str, Mapping[str, float]], title: str, path: Path) -> None:
    """Write one SVG with a panel for each figure of PANELS; berth's bars stand out."""
    height = TOP + ROW * len(rows) + 16
    columns, lines = 3, (len(PANELS) + 2) // 3
    size = f"0 0 {WIDE * columns} {height * lines + 24}"
    style = 'font-family="sans-serif" font-size="11"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {style}>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="18" font-size="13">{escape(title)}</text>',
    ]
    for place, (column, label, logarithmic) in enumerate(PANELS):
        x, y = WIDE * (place % columns), 24 + height * (place // columns)
        parts.append(f'<text x="{x + LEFT}" y="{y + TOP - 12}">{escape(label)}</text>')
        lengths = [log10(max(1.0, v[column])) if logarithmic else v[column] for v in rows.values()]
        longest = max(lengths) or 1.0
        for row, (name, length) in enumerate(zip(rows, lengths, strict=True)):
            top = y + TOP + ROW * row
            colour = "#c2410c" if name == "berth" else "#94a3b8"
            width, value = BAR * length / longest, rows[name][column]
            parts += [
                f'<text x="{x + LEFT - 6}" y="{top + 11}" text-anchor="end">{escape(name)}</text>',
                f'<rect x="{x + LEFT}" y="{top}" width="{width:.1f}" height="14" fill="{colour}"/>',
                f'<text x="{x + LEFT + width + 4:.1f}" y="{top + 11}">{value:.4g}</text>',
            ]
    path.write_text("\n".join([*parts, "</svg>", ""]))
