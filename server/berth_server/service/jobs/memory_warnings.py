"""
Memory warnings at submit for jobs of the bundled trainer, and what its plan expects of a step.

The memory plan is the trainer's: it runs in a process of its own, as the submitting user, and only
for the bundled trainer's own script. If anything fails there, there is no warning.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from berth.commands.recognise import BUNDLED_SCRIPT
from berth.protocol.message import Message
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs.check import Prepared
from berth_server.store.gpus import KnownGpu

_TIMEOUT_S = 3.0
_REMEMBERED = 256
_CONFIG = "--config"

# Config file, its time of change, user, GPUs, bytes of a GPU.
_Key = tuple[str, int, int, int, int]


@dataclass(slots=True, frozen=True)
class Planned:
    """Result of planning a run."""

    warnings: tuple[Message, ...] = ()
    step_s: float | None = None
    """Seconds that a step should take; None when nothing is known."""


@dataclass(slots=True)
class MemoryWarnings:
    """Memory warnings by config file, cached while the file is unchanged. Thread-safe: only adds."""

    _cached: dict[_Key, Planned] = field(default_factory=dict[_Key, Planned])

    def asks(self, prepared: Prepared) -> bool:
        """Return True if `warnings` would read files for this job."""
        return _config_of(prepared) is not None

    def planned(self, prepared: Prepared, caller: Caller, box: Sequence[KnownGpu]) -> Planned:
        """
        Return a sentence for each reason why a run will not fit, and how long a step should take.

        May take a tenth of a second.
        """
        config = _config_of(prepared)
        gpu_memory = _smallest_gpu(prepared, box)
        if config is None or gpu_memory is None:
            return Planned()
        try:
            changed = config.stat().st_mtime_ns
        except (OSError, ValueError):
            return Planned()
        key = (str(config), changed, caller.uid, prepared.gpus, gpu_memory)
        planned = self._cached.get(key)
        if planned is None:
            planned = _ask(key, prepared.workdir)
            if len(self._cached) >= _REMEMBERED:
                self._cached.clear()
            self._cached[key] = planned
        return planned


def _config_of(prepared: Prepared) -> Path | None:
    """The config file of a job that runs the bundled trainer; None for any other job."""
    view = prepared.view
    script = view.script_path
    if view.is_shell or script is None or Path(script).name != BUNDLED_SCRIPT:
        return None
    words = view.script_args
    for word, after in zip(words, (*words[1:], ""), strict=False):
        if word == _CONFIG and after:
            return Path(prepared.workdir, after)
        if word.startswith(f"{_CONFIG}="):
            return Path(prepared.workdir, word.partition("=")[2])
    return None


def _smallest_gpu(prepared: Prepared, box: Sequence[KnownGpu]) -> int | None:
    """Return the memory of the smallest GPU that the job could get, bytes."""
    least = prepared.spec.gpu_memory or 0
    sizes = [gpu.memory_total_bytes for gpu in box if gpu.memory_total_bytes >= least]
    return min(sizes) if sizes and prepared.gpus else None


def _ask(key: _Key, workdir: str) -> Planned:
    config, _, uid, gpus, gpu_memory = key
    if importlib.util.find_spec("berth_trainer") is None:
        return Planned()
    command = [
        *(sys.executable, "-P", "-m", "berth_trainer.memory.check", "--config", config),
        *("--gpus", str(gpus), "--gpu-memory", str(gpu_memory)),
    ]
    # The file is the user's, and so are the rights to read it and what it names.
    other: dict[str, Any] = {}
    if os.geteuid() == 0 and uid != 0:
        other = {"user": uid, "group": _group_of(uid), "extra_groups": []}
    try:
        done = subprocess.run(
            command,
            cwd=workdir,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            **other,
        )
        found: Any = json.loads(done.stdout)
        step_s = found["step_s"]
        sentences = tuple(Message.marked(str(sentence)) for sentence in found["warnings"])
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
        return Planned()
    return Planned(sentences, float(step_s) if step_s else None)


def _group_of(uid: int) -> int:
    import pwd

    return pwd.getpwuid(uid).pw_gid
