"""The GPUs of the box behind one `snapshot()`: NVML where there is a driver, simulated elsewhere."""

from berth_worker.devices.detect import detect_devices
from berth_worker.devices.protocol import AttemptProcesses, Devices, DevicesError

__all__ = ["AttemptProcesses", "Devices", "DevicesError", "detect_devices"]
