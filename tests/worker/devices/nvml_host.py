"""
A process that has NVML open, for tests: one JSON request a line in, one JSON answer a line out.

The fake library must be in place before the process starts (LD_LIBRARY_PATH), so the tests
cannot do this in their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from berth_worker.devices import AttemptProcesses, Devices, DevicesError, detect_devices
from berth_worker.devices.nvml import devices as nvml_devices
from berth_worker.devices.nvml import driver, pids, xids


class Host:
    """The devices under test, and how often they called back."""

    def __init__(self) -> None:
        self.devices: Devices | None = None
        self.changes = 0

    def answer(self, request: dict[str, Any]) -> Any:
        """Do what is asked for."""
        match request["do"]:
            case "open":
                return self._open(request)
            case "snapshot":
                snapshot = self.devices.snapshot(_attempts(request["attempts"]))
                return json.loads(snapshot.model_dump_json())
            case "clear":
                return self.devices.clear(request["uuids"], request["pids"])
            case "changes":
                return self.changes
            case "hold":
                # Another process in our pid namespace, with a file open.
                program = "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
                self.holder = subprocess.Popen(
                    [sys.executable, "-c", program, request["path"]],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                self.holder.stdout.readline()
                return self.holder.pid
            case "close":
                began = time.monotonic()
                if self.devices is not None:
                    self.devices.close()
                self.devices = None
                return time.monotonic() - began
            case other:
                raise ValueError(other)

    def _open(self, request: dict[str, Any]) -> dict[str, str]:
        # The intervals of a real box would make the tests wait.
        for name, value in request["intervals"].items():
            module = {"driver": driver, "devices": nvml_devices, "pids": pids, "xids": xids}
            where, _, attribute = name.partition(".")
            assert hasattr(module[where], attribute)
            setattr(module[where], attribute, value)
        self.changes = 0
        try:
            self.devices = detect_devices(
                request["setting"], Path(request["home"]), on_change=self._changed
            )
        except DevicesError as error:
            return {"error": str(error)}
        return {"source": self.devices.source}

    def _changed(self) -> None:
        self.changes += 1


def _attempts(raw: dict[str, Any]) -> dict[str, AttemptProcesses]:
    return {
        name: AttemptProcesses(name, tuple(a["gpu_uuids"]), frozenset(a["pids"]), a.get("uid"))
        for name, a in raw.items()
    }


# Answers alone go to stdout; what the code under test logs goes to stderr.
answers, sys.stdout = sys.stdout, sys.stderr
host = Host()
for line in sys.stdin:
    print(json.dumps(host.answer(json.loads(line))), file=answers, flush=True)
