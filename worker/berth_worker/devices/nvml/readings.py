"""Readings of one GPU, from cheap to expensive. Costs are from an H200."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pynvml

from berth_worker.devices.nvml.calls import query, require


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """A process on a GPU, as the driver lists it."""

    pid: int
    memory_bytes: int | None
    graphics_only: bool = False
    """True for a process that uses the GPU for graphics only."""


@dataclass(frozen=True, slots=True)
class Readings:
    """The expensive values: 3 ms together, so an unused GPU is read seldom."""

    utilization_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    mig: bool = False
    graphics: tuple[ProcessUse, ...] = ()
    """Graphics processes and MPS clients: rare on a box that trains."""


def memory(handle: Any) -> tuple[int, int]:
    """Return total and used bytes, without what the driver reserves for itself (0.03 ms)."""
    # Version 1 counts the driver's own half gigabyte as used.
    info = query(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    if info is None:
        info = require(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return int(info.total), int(info.used)


def compute(handle: Any) -> tuple[ProcessUse, ...]:
    """Return the compute processes (0.06 ms)."""
    return _uses(
        handle,
        pynvml.nvmlDeviceGetComputeRunningProcesses_v3,
        pynvml.nvmlDeviceGetComputeRunningProcesses_v2,
    )


def graphics(handle: Any) -> tuple[ProcessUse, ...]:
    """Return the graphics processes and the MPS clients (0.06 ms each)."""
    drawing = _uses(
        handle,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2,
    )
    shared = _uses(
        handle,
        pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3,
        pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v2,
    )
    return merge(tuple(replace(use, graphics_only=True) for use in drawing), shared)


def merge(*lists: tuple[ProcessUse, ...]) -> tuple[ProcessUse, ...]:
    """Return one entry for each pid, in order: a process may be in several lists."""
    merged: dict[int, ProcessUse] = {}
    for use in (use for uses in lists for use in uses):
        known = merged.get(use.pid, use)
        known_bytes = [m for m in (known.memory_bytes, use.memory_bytes) if m is not None]
        merged[use.pid] = ProcessUse(
            use.pid, max(known_bytes, default=None), known.graphics_only and use.graphics_only
        )
    return tuple(merged[pid] for pid in sorted(merged))


def readings(handle: Any) -> Readings:
    """Return the expensive values (utilisation 2.1 ms, power 1.1 ms)."""
    utilization = query(pynvml.nvmlDeviceGetUtilizationRates, handle)
    temperature = query(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    if temperature is None:
        temperature = query(pynvml.nvmlDeviceGetTemperatureV, handle, pynvml.NVML_TEMPERATURE_GPU)
    power = query(pynvml.nvmlDeviceGetPowerUsage, handle)
    limit = query(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    mig = query(pynvml.nvmlDeviceGetMigMode, handle)
    return Readings(
        utilization_percent=None if utilization is None else int(utilization.gpu),
        temperature_c=None if temperature is None else int(temperature),
        power_w=None if power is None else power / 1000,
        power_limit_w=None if limit is None else limit / 1000,
        mig=mig is not None and mig[0] == pynvml.NVML_DEVICE_MIG_ENABLE,
        graphics=graphics(handle),
    )


def health(handle: Any, index: int) -> tuple[str, ...]:
    """Return the faults that the GPU itself reports, one sentence each."""
    reset = f"reset it when it is empty (nvidia-smi --gpu-reset -i {index}) or reboot the box."
    found: list[str] = []
    errors = query(
        pynvml.nvmlDeviceGetTotalEccErrors,
        handle,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
    )
    if errors:
        noun = "memory error" if errors == 1 else "memory errors"
        found.append(f"{errors} uncorrectable {noun} since the driver was loaded; {reset}")
    rows = query(pynvml.nvmlDeviceGetRemappedRows, handle)
    if rows is not None:
        _, _, pending, failed = rows
        if failed:
            found.append("A row of its memory could not be replaced; have the GPU exchanged.")
        if pending:
            found.append(f"Rows of its memory wait to be replaced; {reset}")
    if query(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle):
        found.append(f"Pages of its memory wait to be retired; {reset}")
    action = _recovery_action(handle)
    if action in _REBOOT:
        found.append("The driver asks for a reboot of the box to recover this GPU.")
    elif action:
        found.append(f"The driver asks for recovery of this GPU; {reset}")
    return tuple(found)


_REBOOT = {
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT,
    pynvml.NVML_GPU_RECOVERY_ACTION_SYSTEM_REBOOT,
}


def _recovery_action(handle: Any) -> int:
    fields = [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
    values = query(pynvml.nvmlDeviceGetFieldValues, handle, fields)
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return pynvml.NVML_GPU_RECOVERY_ACTION_NONE
    return int(values[0].value.uiVal)


def _uses(handle: Any, newest: Any, older: Any) -> tuple[ProcessUse, ...]:
    listed = query(newest, handle)
    if listed is None:
        listed = query(older, handle)
    return tuple(ProcessUse(int(entry.pid), entry.usedGpuMemory) for entry in listed or ())
