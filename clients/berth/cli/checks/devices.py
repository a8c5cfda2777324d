"""GPUs and fence, asked from the worker's own code in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from berth.cli import text
from berth.cli.checks.finding import Finding, fail, ok, warn

_VERSION = Path("/proc/driver/nvidia/version")
_TIMEOUT_S = 60
_FENCE = """
import json
from berth_worker.fence import probe
found = probe()
print(json.dumps({"kind": found.kind.value, "sentence": found.sentence}))
"""


def findings() -> Iterator[Finding]:
    """Look at the driver, each GPU and the fence."""
    yield _driver()
    yield from _gpus()
    yield _fence()


def _driver() -> Finding:
    try:
        first = _VERSION.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return warn(
            "driver",
            "No NVIDIA driver is loaded.",
            "install it; without one `berth up` simulates eight GPUs (BERTH_GPUS=sim:8)",
        )
    return ok("driver", " ".join(first.removeprefix("NVRM version:").split()) + ".")


def _gpus() -> Iterator[Finding]:
    setting = os.environ.get("BERTH_GPUS", "auto")
    box, problem = _ask(["-m", "berth_worker.devices"])
    if box is None:
        yield fail(
            "gpus", f"The GPUs cannot be read: {problem}", "see `berth doctor`'s lines above"
        )
        return
    gpus: list[dict[str, Any]] = box.get("gpus", [])
    source = box.get("source", "")
    yield ok("gpus", f"{text.plural(len(gpus), 'GPU')} by {source} (BERTH_GPUS={setting}).")
    for gpu in gpus:
        name = f"gpu {gpu['index']}"
        problems = (gpu.get("health") or {}).get("problems") or []
        if problems:
            yield fail(name, " ".join(problems), "reset or drain it: `berth gpus drain`")
        elif gpu.get("mig"):
            yield warn(name, "MIG is on: Berth places nothing there.", "nvidia-smi -mig 0")
        elif gpu.get("processes"):
            count = text.plural(len(gpu["processes"]), "process").replace("processs", "processes")
            yield ok(name, f"{count} on it now: `berth gpus` names them.")


def _fence() -> Finding:
    fence, problem = _ask(["-c", _FENCE])
    if fence is None:
        return warn("fence", f"It cannot be tried: {problem}", "install the worker on this machine")
    sentence = str(fence["sentence"])
    if fence["kind"] == "advisory":
        return warn("fence", sentence, "run `berth up` as root, or as the sentence says")
    return ok("fence", sentence)


def _ask(arguments: list[str]) -> tuple[dict[str, Any] | None, str]:
    """Run worker code and read its JSON; None and the last line it said when that fails."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {_TIMEOUT_S} s."
    try:
        return cast("dict[str, Any]", json.loads(child.stdout)), ""
    except ValueError:
        words = (child.stderr or child.stdout).strip().splitlines()
        return None, words[-1] if words else f"exit code {child.returncode}."
