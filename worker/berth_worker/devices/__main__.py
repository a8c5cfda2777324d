"""
Print what the device layer sees, as JSON: `python -m berth_worker.devices [BERTH_GPUS]`.

Helps to find out why the GPU map looks as it does: one snapshot, the fence and the cost of a
snapshot. Running attempts are recognised by their environment alone.
"""

from __future__ import annotations

import json
import os
import sys
import time

import structlog

from berth import home
from berth_worker.devices import DevicesError, detect_devices
from berth_worker.fence import probe

_ROUNDS = 20


def main() -> int:
    """Take one snapshot and print it; return the exit code."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    setting = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BERTH_GPUS", "auto")
    try:
        devices = detect_devices(setting, home.resolve().folder)
    except DevicesError as error:
        print(error, file=sys.stderr)
        return 1
    snapshot = devices.snapshot({})
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(_ROUNDS):
        devices.snapshot({})
    cost = {
        "wall_ms": round(1000 * (time.perf_counter() - began) / _ROUNDS, 3),
        "cpu_ms": round(1000 * (time.process_time() - cpu) / _ROUNDS, 3),
    }
    devices.close()
    fence = probe(simulated=devices.source == "simulated")
    seen = {
        "snapshot": snapshot.model_dump(mode="json"),
        "snapshot_cost": cost,
        "fence": {"kind": fence.kind.value, "sentence": fence.sentence},
        "masks": {gpu.index: fence.masks([gpu], snapshot.gpus) for gpu in snapshot.gpus},
    }
    print(json.dumps(seen, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
