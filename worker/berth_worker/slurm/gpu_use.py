"""Readings of a node's GPUs, which its part of a run writes beside its signs of life."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, TypeAdapter


class GpuUse(BaseModel):
    """One GPU of a running attempt. Absent values are not known."""

    model_config = ConfigDict(frozen=True)

    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    utilization_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None


class _Beat(BaseModel):
    gpus: dict[str, GpuUse] = {}


_BEAT = TypeAdapter(_Beat)


def read(beat: bytes) -> dict[str, GpuUse]:
    """Return the readings in a sign of life, by the GPU's name; none when it makes no sense."""
    try:
        return _BEAT.validate_json(beat).gpus
    except (ValueError, RecursionError):
        return {}
