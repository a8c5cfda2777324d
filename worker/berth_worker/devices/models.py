"""The GPU models that can be simulated."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Model:
    """A GPU model, with the figures that the driver reports."""

    short: str
    """As written in `BERTH_GPUS`."""
    name: str
    memory_bytes: int
    power_limit_w: float
    idle_power_w: float
    link: str
    """NVLink between any two; empty where the GPUs are joined by PCIe only."""


def _model(short: str, name: str, mib: int, limit_w: float, idle_w: float, link: str) -> Model:
    return Model(short, name, mib * _MIB, limit_w, idle_w, link)


_ALL = (
    _model("B200-180GB", "NVIDIA B200", 183_359, 1000, 140, "NV18"),
    _model("H200-141GB", "NVIDIA H200", 143_771, 700, 75, "NV18"),
    _model("H100-80GB", "NVIDIA H100 80GB HBM3", 81_559, 700, 70, "NV18"),
    _model("A100-80GB", "NVIDIA A100-SXM4-80GB", 81_920, 400, 55, "NV12"),
    _model("A100-40GB", "NVIDIA A100-SXM4-40GB", 40_960, 400, 50, "NV12"),
    _model("V100-32GB", "Tesla V100-SXM2-32GB", 32_768, 300, 40, "NV2"),
    _model("L40S-48GB", "NVIDIA L40S", 46_068, 350, 35, ""),
    _model("A6000-48GB", "NVIDIA RTX A6000", 49_140, 300, 22, ""),
    _model("A40-48GB", "NVIDIA A40", 46_068, 300, 30, ""),
    _model("L4-24GB", "NVIDIA L4", 23_034, 72, 16, ""),
    _model("RTX4090-24GB", "NVIDIA GeForce RTX 4090", 24_564, 450, 20, ""),
    _model("RTX3090-24GB", "NVIDIA GeForce RTX 3090", 24_576, 350, 22, ""),
    _model("T4-16GB", "Tesla T4", 15_360, 70, 10, ""),
)

MODELS = {m.short.split("-")[0].lower(): m for m in reversed(_ALL)} | {
    m.short.lower(): m for m in _ALL
}
"""By lower-case name; the memory may be left out (`H100`), the largest variant is meant then."""
