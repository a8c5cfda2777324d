"""Detection of the GPUs: the setting `BERTH_GPUS` and the hardware of the box."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from berth_worker.devices import pci
from berth_worker.devices.models import MODELS
from berth_worker.devices.protocol import Devices, DevicesError
from berth_worker.devices.simulated import SimulatedDevices

_SIMULATED = re.compile(r"sim(?::(\d+)(?:x(\S+))?)?", re.IGNORECASE)
_DEFAULT_COUNT = 8
_DEFAULT_MODEL = "H100-80GB"
_MOST = 64
_log = structlog.get_logger(__name__)


def detect_devices(
    setting: str,
    home: Path,
    on_change: Callable[[], None] | None = None,
    harmless: Sequence[str] = (),
) -> Devices:
    """
    Open the devices that `BERTH_GPUS` asks for.

    `auto` is NVML where it finds a GPU, else eight simulated ones; `nvml`; `sim:8`;
    `sim:8xH100-80GB`. `on_change` is called, from a thread of the device layer, when a fault
    has arrived that should not wait for the next snapshot. `harmless` names programs that occupy
    nothing of a GPU but their memory. Raises DevicesError.
    """
    wanted = setting.strip()
    simulated = _SIMULATED.fullmatch(wanted)
    if simulated:
        count = int(simulated[1] or _DEFAULT_COUNT)
        model = simulated[2] or _DEFAULT_MODEL
        if not 1 <= count <= _MOST:
            raise DevicesError(f"BERTH_GPUS={wanted}: simulate between 1 and {_MOST} GPUs.")
        if model.lower() not in MODELS:
            names = ", ".join(sorted(m.short for m in MODELS.values()))
            raise DevicesError(f"BERTH_GPUS={wanted}: the model is one of {names}.")
        return SimulatedDevices(count, MODELS[model.lower()], home)
    if wanted.lower() not in {"auto", "nvml", ""}:
        raise DevicesError(
            f"BERTH_GPUS={wanted} is not understood; write auto, nvml, sim:8 or sim:8xH100-80GB."
        )
    required = wanted.lower() == "nvml"
    real = _open_nvml(home, on_change, harmless, required=required)
    return real or SimulatedDevices(_DEFAULT_COUNT, MODELS[_DEFAULT_MODEL.lower()], home)


def _open_nvml(
    home: Path, on_change: Callable[[], None] | None, harmless: Sequence[str], *, required: bool
) -> Devices | None:
    """
    Open NVML; return None when it shows no GPU and is not required.

    If a GPU is on the bus, Berth waits for an installed driver that does not answer: a box that
    boots before its driver must not put jobs on simulated GPUs.
    """
    # The binding costs 60 ms to import and is of no use on a laptop.
    from berth_worker.devices.nvml import DriverGoneError, LibraryMissingError, NvmlDevices

    devices = NvmlDevices(home, on_change, harmless)
    count = 0
    try:
        count = devices.open()
    except LibraryMissingError as error:
        devices.close()
        if required:
            raise DevicesError(str(error)) from None
        return None
    except DriverGoneError as error:
        _log.warning("the NVIDIA driver cannot be opened", action="nvml.closed", reason=str(error))
    if count or required or pci.nvidia_gpus():
        return devices
    devices.close()
    return None
