"""Signs of life of a node's part of a run, with what NVML tells of its GPUs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Mapping

from berth_worker.devices.nvml import gpu as nvml_gpu
from berth_worker.devices.nvml.calls import DriverGoneError, GpuLostError, open_driver
from berth_worker.shim import files
from berth_worker.slurm.placed import beat_file

_EVERY_S = 5.0


class Usage:
    """Writer of the file of a node; each content differs from the one before."""

    def __init__(self, folder: int, rank: int, held: Mapping[str, int]) -> None:
        """`held`: the node's GPUs, by name, with the numbers that CUDA and NVML count here."""
        self._folder = folder
        self._rank = rank
        self._held = held
        self._numbers = itertools.count(1)
        self._due = 0.0
        self._gpus: dict[str, nvml_gpu.Gpu] | None = None

    def keep(self) -> None:
        """Write when it is time to; a disk that is full or away is tried again."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _EVERY_S
        content = {"number": next(self._numbers), "pid": os.getpid(), "gpus": self._readings()}
        with contextlib.suppress(OSError):
            files.replace(self._folder, beat_file(self._rank), json.dumps(content).encode())

    def _readings(self) -> dict[str, dict[str, object]]:
        try:
            if self._gpus is None:
                self._gpus = self._find()
            return {name: _reading(gpu) for name, gpu in self._gpus.items()}
        except (DriverGoneError, GpuLostError):
            return {}  # tried again the next time

    def _find(self) -> dict[str, nvml_gpu.Gpu]:
        if not self._held:
            return {}
        open_driver()
        return {name: nvml_gpu.find(number) for name, number in self._held.items()}


def _reading(gpu: nvml_gpu.Gpu) -> dict[str, object]:
    if gpu.handle is None:
        return {}
    gpu.read_cheap()
    gpu.read_expensive()
    if gpu.lost is not None:
        return {}
    found = gpu.readings
    return {
        "memory_used_bytes": gpu.memory_used_bytes,
        "memory_total_bytes": gpu.memory_total_bytes,
        "utilization_percent": found.utilization_percent,
        "temperature_c": found.temperature_c,
        "power_w": found.power_w,
        "power_limit_w": found.power_limit_w,
    }
