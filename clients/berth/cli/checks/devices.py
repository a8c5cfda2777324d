"""Checks of GPUs and fence, made by the worker's own code in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from berth.cli import text
from berth.cli.checks import software
from berth.cli.checks.finding import Finding, fail, ok, warn

_VERSION = Path("/proc/driver/nvidia/version")
_TIMEOUT_S = 60


def findings() -> Iterator[Finding]:
    """Check the driver, each GPU and the fence."""
    if not software.installed("worker"):
        yield ok("gpus", "Not read here: that is the worker's work, which a client does without.")
        return
    yield _driver()
    report, problem = _ask(["-m", "berth_worker.devices"])
    if report is None:
        yield fail("gpus", f"The GPUs cannot be read: {problem}", "fix what the sentence names")
        return
    yield from _gpus(report["snapshot"])
    yield _fence(report["fence"], simulated=report["snapshot"]["source"] == "simulated")


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


def _gpus(box: dict[str, Any]) -> Iterator[Finding]:
    setting = os.environ.get("BERTH_GPUS", "auto")
    gpus: list[dict[str, Any]] = box["gpus"]
    models = ", ".join(sorted({gpu["name"] for gpu in gpus}))
    how = "simulated" if box["source"] == "simulated" else "seen through NVML"
    yield ok("gpus", f"{text.plural(len(gpus), 'GPU')}, {models}, {how} (BERTH_GPUS={setting}).")
    for gpu in gpus:
        name = f"gpu {gpu['index']}"
        problems = gpu["health"]["problems"]
        if problems:
            yield fail(name, " ".join(problems), f"berth gpus drain {gpu['index']}, then reset it")
        elif gpu["mig"]:
            yield warn(name, "MIG is on: Berth places no job there.", "nvidia-smi -mig 0")
        elif gpu["processes"]:
            pids = ", ".join(str(process["pid"]) for process in gpu["processes"])
            yield ok(name, f"In use by pid {pids}; `berth gpus` shows whose they are.")


def _fence(fence: dict[str, Any], *, simulated: bool) -> Finding:
    sentence = str(fence["sentence"])
    if fence["kind"] == "advisory" and not simulated:
        return warn("fence", sentence, "run `berth up` as root, or follow the sentence")
    return ok("fence", sentence)


def _ask(arguments: list[str]) -> tuple[dict[str, Any] | None, str]:
    """Run worker code and read its JSON; None and its last line of output when that fails."""
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
