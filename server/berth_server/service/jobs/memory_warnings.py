"""
Warnings at submit about GPU memory and disk for jobs of the bundled trainer, and a step's length.

The plan is the trainer's: it runs in a process of its own, as the submitting user, and only
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
_CONFIG, _PREDICT = "--config", "--predict"


@dataclass(slots=True, frozen=True)
class _Question:
    """Facts that a plan depends on. `changed` and `free_about` have it made again when they change."""

    config: str
    changed: int
    uid: int
    gpus: int
    gpu_memory: int
    folder: str
    """Output folder of the run, or the nearest around it that exists."""
    free_about: float
    """Free bytes of its disk, two digits of them."""
    flags: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Planned:
    """Result of planning a run."""

    warnings: tuple[Message, ...] = ()
    step_s: float | None = None
    """Seconds that a step should take; None when nothing is known."""


@dataclass(slots=True)
class MemoryWarnings:
    """Memory warnings by config file, cached while the file is unchanged. Thread-safe: only adds."""

    _cached: dict[_Question, Planned] = field(default_factory=dict[_Question, Planned])

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
        folder, free = _disk_of(_output_folder(prepared))
        key = _Question(
            config=str(config),
            changed=changed,
            uid=caller.uid,
            gpus=prepared.gpus,
            gpu_memory=gpu_memory,
            folder=folder,
            free_about=float(f"{free:.2g}"),
            flags=_flags(prepared.view.script_args),
        )
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
    if any(word.partition("=")[0] == _PREDICT for word in view.script_args):
        return None  # its plan is that of training
    value = _value(view.script_args, _CONFIG)
    return Path(prepared.workdir, value) if value else None


def _value(words: Sequence[str], flag: str) -> str:
    """Return a flag's value; dashes and underscores in it are the same. Empty where it is not given."""
    for word, after in zip(words, (*words[1:], ""), strict=False):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:].replace("-", "_") == flag[2:]:
            return value if equals else after
    return ""


def _flags(words: Sequence[str]) -> tuple[str, ...]:
    """Return the check's own flags for those of the command."""
    resumed = any(word.partition("=")[0].startswith("--resume") for word in words)
    steps = _value(words, "--max_steps")
    return (
        *(("--resume",) if resumed else ()),
        *(("--max-steps", steps) if steps.isdecimal() else ()),
    )


def _output_folder(prepared: Prepared) -> Path:
    words = prepared.view.script_args
    named = _value(words, "--output_dir")
    return Path(prepared.workdir, named or Path("outputs", _value(words, "--ablation_config")))


def _disk_of(folder: Path) -> tuple[str, int]:
    """Return the folder, or the nearest around it that can be seen, and its disk's free bytes."""
    for one in (folder, *folder.parents):
        try:
            found = os.statvfs(one)
        except (OSError, ValueError):
            continue
        return str(one), found.f_bavail * found.f_frsize
    return "/", 0


def _smallest_gpu(prepared: Prepared, box: Sequence[KnownGpu]) -> int | None:
    """Return the memory of the smallest GPU that the job could get, bytes."""
    least = prepared.spec.gpu_memory or 0
    sizes = [gpu.memory_total_bytes for gpu in box if gpu.memory_total_bytes >= least]
    return min(sizes) if sizes and prepared.gpus else None


def _ask(key: _Question, workdir: str) -> Planned:
    if importlib.util.find_spec("berth_trainer") is None:
        return Planned()
    command = [
        *(sys.executable, "-P", "-m", "berth_trainer.memory.check", "--config", key.config),
        *("--gpus", str(key.gpus), "--gpu-memory", str(key.gpu_memory)),
        *("--output-dir", key.folder, *key.flags),
    ]
    # The file is the user's, and so are the rights to read it and what it names.
    other: dict[str, Any] = {}
    if os.geteuid() == 0 and key.uid != 0:
        other = {"user": key.uid, "group": _group_of(key.uid), "extra_groups": []}
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
