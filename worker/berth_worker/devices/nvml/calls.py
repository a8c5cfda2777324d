"""
NVML calls, all in one place.

An answer that a GPU, the driver or the worker's permissions do not give is None. Two cases raise
errors because everything depends on them: a GPU is lost, or the driver is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pynvml
import structlog

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
_reported: set[str] = set()

_LOST = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "The GPU has fallen off the bus; reboot the box.",
    pynvml.NVML_ERROR_GPU_NOT_FOUND: "The driver no longer finds the GPU; reboot the box.",
    pynvml.NVML_ERROR_RESET_REQUIRED: (
        "The GPU needs a reset: nvidia-smi --gpu-reset, or reboot the box."
    ),
    pynvml.NVML_ERROR_INSUFFICIENT_POWER: "The GPU's power cables are not connected.",
    pynvml.NVML_ERROR_IRQ_ISSUE: "The GPU's interrupts do not arrive; reboot the box.",
    pynvml.NVML_ERROR_UNKNOWN: "The driver cannot read the GPU (unknown error); see dmesg.",
}
_GONE = {
    pynvml.NVML_ERROR_UNINITIALIZED: "NVML has lost the driver; Berth keeps trying to reopen it.",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "The NVIDIA driver is not loaded; modprobe nvidia.",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "The NVIDIA driver was updated under its library; reboot, or reload the driver and "
        "restart the worker."
    ),
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "libnvidia-ml.so.1 is not found; install the NVIDIA driver or choose BERTH_GPUS=sim:8."
    ),
    pynvml.NVML_ERROR_OPERATING_SYSTEM: (
        "The operating system denies access to the NVIDIA driver; check that /dev/nvidiactl can "
        "be opened."
    ),
}


class GpuLostError(Exception):
    """One GPU can no longer be read; the message is a sentence for people."""


class DriverGoneError(Exception):
    """No GPU can be read; the message is a sentence for people."""


class LibraryMissingError(DriverGoneError):
    """There is no NVIDIA driver on this box; the message is a sentence for people."""


def query(function: Callable[..., _T], *arguments: object) -> _T | None:
    """
    Call an NVML function; return None when there is no answer.

    Raises GpuLostError or DriverGoneError.
    """
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        code = code_of(error)
        if code in _GONE:
            raise DriverGoneError(_GONE[code]) from None
        if code in _LOST and code != pynvml.NVML_ERROR_UNKNOWN:
            raise GpuLostError(_LOST[code]) from None
        name = getattr(function, "__name__", str(function))
        if code == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND and name not in _reported:
            _reported.add(name)
            _log.info(
                "the driver is older than this function", action="nvml.missing", function=name
            )
        return None


def require(function: Callable[..., _T], *arguments: object) -> _T:
    """Call an NVML function that every healthy GPU answers. Raises GpuLostError without one."""
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        code = code_of(error)
        if code in _GONE:
            raise DriverGoneError(_GONE[code]) from None
        raise GpuLostError(_LOST.get(code, f"The driver cannot read the GPU ({error}).")) from None


def code_of(error: pynvml.NVMLError) -> int:
    """Return the NVML_ERROR_… number of an error."""
    # The binding sets it in __new__, where no type checker sees it.
    return int(error.value)  # pyright: ignore[reportAttributeAccessIssue]


def open_driver() -> None:
    """Connect to the driver. Raises DriverGoneError."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        code = code_of(error)
        sentence = _GONE.get(code, f"The NVIDIA driver does not answer ({error}); see dmesg.")
        if code == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            raise LibraryMissingError(sentence) from None
        raise DriverGoneError(sentence) from None


def close_driver() -> None:
    """Close the driver, whatever state it is in."""
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return
