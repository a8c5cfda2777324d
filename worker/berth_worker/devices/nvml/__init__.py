"""Real GPUs through NVML."""

from berth_worker.devices.nvml.calls import DriverGoneError, LibraryMissingError
from berth_worker.devices.nvml.devices import NvmlDevices

__all__ = ["DriverGoneError", "LibraryMissingError", "NvmlDevices"]
