"""Real GPUs through NVML."""

from berth_worker.devices.nvml.devices import NvmlDevices
from berth_worker.devices.nvml.gate import DriverGoneError, LibraryMissingError

__all__ = ["DriverGoneError", "LibraryMissingError", "NvmlDevices"]
