"""What is read of one GPU, from the cheap to the dear. Costs are from an H200."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pynvml

from berth_worker.devices.nvml.calls import ask, demand


@dataclass(frozen=True, slots=True)
class Use:
    """A process on a GPU, as the driver lists it."""

    pid: int
    memory_bytes: int | None
    draws: bool = False
    """It draws and does not compute."""


@dataclass(frozen=True, slots=True)
class Readings:
    """The dear values: 3 ms together, so a GPU that nobody uses is asked seldom."""

    utilization_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    mig: bool = False
    graphics: tuple[Use, ...] = ()
    """Processes that draw, and clients of MPS: seldom seen on a box that trains."""


def memory(handle: Any) -> tuple[int, int]:
    """Total and used bytes, without what the driver keeps for itself (0.03 ms)."""
    # Version 1 counts the driver's own half gigabyte as used.
    info = ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    if info is None:
        info = demand(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return int(info.total), int(info.used)


def compute(handle: Any) -> tuple[Use, ...]:
    """The processes that compute (0.06 ms)."""
    return _uses(
        handle,
        pynvml.nvmlDeviceGetComputeRunningProcesses_v3,
        pynvml.nvmlDeviceGetComputeRunningProcesses_v2,
    )


def graphics(handle: Any) -> tuple[Use, ...]:
    """The processes that draw, and the clients of MPS (0.06 ms each)."""
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
    return merge(tuple(replace(use, draws=True) for use in drawing), shared)


def merge(*lists: tuple[Use, ...]) -> tuple[Use, ...]:
    """One entry for each pid, in order: a process that computes and draws is in both lists."""
    merged: dict[int, Use] = {}
    for use in (use for uses in lists for use in uses):
        known = merged.get(use.pid, use)
        told = [m for m in (known.memory_bytes, use.memory_bytes) if m is not None]
        merged[use.pid] = Use(use.pid, max(told, default=None), known.draws and use.draws)
    return tuple(merged[pid] for pid in sorted(merged))


def readings(handle: Any) -> Readings:
    """The dear values (utilisation 2.1 ms, power 1.1 ms)."""
    utilization = ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    temperature = ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    if temperature is None:
        temperature = ask(pynvml.nvmlDeviceGetTemperatureV, handle, pynvml.NVML_TEMPERATURE_GPU)
    power = ask(pynvml.nvmlDeviceGetPowerUsage, handle)
    limit = ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    mig = ask(pynvml.nvmlDeviceGetMigMode, handle)
    return Readings(
        utilization_percent=None if utilization is None else int(utilization.gpu),
        temperature_c=None if temperature is None else int(temperature),
        power_w=None if power is None else power / 1000,
        power_limit_w=None if limit is None else limit / 1000,
        mig=mig is not None and mig[0] == pynvml.NVML_DEVICE_MIG_ENABLE,
        graphics=graphics(handle),
    )


def health(handle: Any, index: int) -> tuple[str, ...]:
    """What the GPU itself says is wrong with it, one sentence each."""
    reset = f"reset it when it is empty (nvidia-smi --gpu-reset -i {index}) or reboot the box."
    found: list[str] = []
    errors = ask(
        pynvml.nvmlDeviceGetTotalEccErrors,
        handle,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
    )
    if errors:
        noun = "memory error" if errors == 1 else "memory errors"
        found.append(f"{errors} uncorrectable {noun} since the driver was loaded; {reset}")
    rows = ask(pynvml.nvmlDeviceGetRemappedRows, handle)
    if rows is not None:
        _, _, pending, failed = rows
        if failed:
            found.append("A row of its memory could not be replaced; have the GPU exchanged.")
        if pending:
            found.append(f"Rows of its memory wait to be replaced; {reset}")
    if ask(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle):
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
    values = ask(pynvml.nvmlDeviceGetFieldValues, handle, fields)
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return pynvml.NVML_GPU_RECOVERY_ACTION_NONE
    return int(values[0].value.uiVal)


def _uses(handle: Any, newest: Any, older: Any) -> tuple[Use, ...]:
    listed = ask(newest, handle)
    if listed is None:
        listed = ask(older, handle)
    return tuple(Use(int(entry.pid), entry.usedGpuMemory) for entry in listed or ())
