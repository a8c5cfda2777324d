"""Words for what a job used of its GPUs, the same in every client and notice."""

from __future__ import annotations

from typing import Protocol

from berth.units import format_size


class Usage(Protocol):
    """The fields of `protocol.progress.GpuUsage` that are told."""

    gpu_hours: float
    utilization_percent: float | None
    idle_percent: float | None
    peak_memory_bytes: int | None
    energy_kwh: float | None
    cost: float | None
    currency: str
    co2_g: float | None


def words(usage: Usage) -> str:
    """`4.2 GPU-hours, 87 % busy, 3 % idle, at most 61.0 GiB of a GPU, 2.31 kWh, 1.42 EUR`"""
    parts = [f"{_number(usage.gpu_hours)} GPU-hours"]
    if (load := busy(usage)) is not None:
        parts.append(load)
    if usage.idle_percent is not None:
        parts.append(f"{usage.idle_percent:.0f} % idle")
    if usage.peak_memory_bytes:
        parts.append(f"at most {format_size(usage.peak_memory_bytes)} of a GPU")
    if usage.energy_kwh is not None:
        parts.append(f"{_number(usage.energy_kwh)} kWh")
    if usage.co2_g is not None:
        parts.append(f"{_number(usage.co2_g / 1000)} kg CO2")
    if usage.cost is not None:
        parts.append(f"{usage.cost:.2f} {usage.currency}".rstrip())
    return ", ".join(parts)


def busy(usage: Usage) -> str | None:
    """`87 % busy`; None when nothing was seen."""
    if usage.utilization_percent is None:
        return None
    return f"{usage.utilization_percent:.0f} % busy"


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):.6f}".rstrip("0").rstrip(".") or "0"
