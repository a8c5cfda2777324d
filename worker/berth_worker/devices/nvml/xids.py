"""Xid events: GPU errors that the driver reports the moment they happen."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pynvml
import structlog

from berth_worker.devices.nvml.calls import DriverGoneError, GpuLostError, code_of, query

_WAIT_MS = 250
_RESET = "reset it when it is empty (nvidia-smi --gpu-reset) or reboot the box."
_log = structlog.get_logger(__name__)

# From NVIDIA's catalogue of Xid errors, those after which a GPU must not be used. The others (13,
# 31, 43, 45, 69, 94 and so on) are caused by a program and end with it; damage that they leave in
# memory shows in the health readings.
_SERIOUS = {
    48: f"an uncorrectable memory error; {_RESET}",
    62: f"the GPU's internal controller halted; {_RESET}",
    64: "a broken row of memory could not be recorded; have the GPU exchanged.",
    74: f"an NVLink error; {_RESET}",
    79: "the GPU has fallen off the bus; reboot the box.",
    95: f"an uncorrectable memory error that was not contained; {_RESET}",
    110: f"a security fault; {_RESET}",
    119: f"the GPU's system processor does not answer; {_RESET}",
    120: f"an error in the GPU's system processor; {_RESET}",
    121: f"an error on the link to the processor; {_RESET}",
    140: f"an unrecovered memory error; {_RESET}",
    143: f"the GPU could not be initialised; {_RESET}",
    158: f"the GPU stopped answering; {_RESET}",
}


def sentence(number: int) -> str | None:
    """Return the sentence for a serious Xid; None for one that a program caused."""
    meaning = _SERIOUS.get(number)
    return None if meaning is None else f"Xid {number}: {meaning}"


class XidListener:
    """A thread that waits for Xid events. Ends with the driver or with `stop`."""

    def __init__(self, handles: Mapping[str, Any], on_xid: Callable[[str, int], None]) -> None:
        """`handles` by UUID; `on_xid` gets UUID and number, in the listener's thread."""
        self._on_xid = on_xid
        self._uuid_of = {_address(handle): uuid for uuid, handle in handles.items()}
        self._stopping = threading.Event()
        self._events = query(pynvml.nvmlEventSetCreate)
        self._thread = threading.Thread(target=self._listen, name="berth-xid", daemon=True)
        if self._events is None:
            return
        listening = 0
        for handle in handles.values():
            try:
                kind = pynvml.nvmlEventTypeXidCriticalError
                query(pynvml.nvmlDeviceRegisterEvents, handle, kind, self._events)
                listening += 1
            except GpuLostError:
                continue
        if listening:
            self._thread.start()

    def stop(self) -> None:
        """Stop listening; returns within about a quarter of a second."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=4 * _WAIT_MS / 1000)
        # A thread that the driver holds keeps its events: freeing them would crash it.
        if self._events is not None and not self._thread.is_alive():
            try:
                query(pynvml.nvmlEventSetFree, self._events)
            except (DriverGoneError, GpuLostError):
                return

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, _WAIT_MS)
            except pynvml.NVMLError as error:
                if code_of(error) == pynvml.NVML_ERROR_TIMEOUT:
                    continue
                # A lost GPU makes the wait fail; the snapshots show which one it is.
                if self._stopping.wait(1.0) or code_of(error) == pynvml.NVML_ERROR_UNINITIALIZED:
                    return
                continue
            uuid = self._uuid_of.get(_address(event.device))
            if uuid is None:
                continue
            number = int(event.eventData)
            _log.warning("Xid event", action="gpu.xid", gpu_uuid=uuid, xid=number)
            self._on_xid(uuid, number)


def _address(handle: Any) -> int:
    """Return the address a handle points to: equal handles are different Python objects."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
