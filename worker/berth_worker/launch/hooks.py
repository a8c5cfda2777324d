"""Programs of the box's admin before and after each attempt that has GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from berth.protocol.internal import DesiredAttempt

_TAIL_BYTES = 4096
_MOST_TEXT = 300


class PrologueError(Exception):
    """The prologue failed; the message is a sentence with its last line."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Prologue and epilogue; None for one that is not set."""

    prologue: str | None = None
    epilogue: str | None = None
    timeout_s: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The worker's own environment, which they have too."""

    def before(self, desired: DesiredAttempt) -> None:
        """Run the prologue. Raises PrologueError."""
        if self.prologue is not None and desired.gpus:
            problem = self._run("prologue", self.prologue, desired, {})
            if problem is not None:
                raise PrologueError(problem)

    def follows(self, desired: DesiredAttempt) -> bool:
        """Return whether an epilogue is to run after an attempt."""
        return self.epilogue is not None and bool(desired.gpus)

    def after(self, desired: DesiredAttempt, outcome: str) -> str | None:
        """Run the epilogue; return a sentence if it failed."""
        if self.epilogue is None:
            return None
        return self._run("epilogue", self.epilogue, desired, {"BERTH_OUTCOME": outcome})

    def _run(
        self, name: str, program: str, desired: DesiredAttempt, more: Mapping[str, str]
    ) -> str | None:
        indices = ",".join(str(gpu.index) for gpu in desired.gpus)
        env = {
            **self.environment,
            "BERTH_HOOK": name,
            "BERTH_JOB_ID": str(desired.job_id),
            "BERTH_ATTEMPT": desired.attempt,
            "BERTH_USER": desired.user,
            "BERTH_UID": str(os.geteuid() if desired.uid is None else desired.uid),
            "BERTH_GPU_INDICES": indices,
            "BERTH_GPU_UUIDS": ",".join(gpu.uuid for gpu in desired.gpus),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": indices,
            **more,
        }
        try:
            with tempfile.TemporaryFile() as output:
                how = self._outcome(program, env, output.fileno())
                return None if how is None else f"The {name} {how}{_last(output.fileno())}"
        except OSError as error:
            return f"The {name} {program} cannot be run: {error.strerror}."

    def _outcome(self, program: str, env: Mapping[str, str], output: int) -> str | None:
        """Run a program; return how it failed. Raises OSError."""
        process = subprocess.Popen(
            [program],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=env,
            start_new_session=True,
        )
        try:
            code = process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"did not end within {self.timeout_s:g} s"
        if code == 0:
            return None
        return f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"


def _last(output: int) -> str:
    """Return the end of a sentence: the last line that was written, if any was."""
    size = os.fstat(output).st_size
    tail = os.pread(output, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    lines = tail.decode("utf-8", "replace").strip().splitlines()
    text = "".join(one if one.isprintable() else " " for one in lines[-1]) if lines else ""
    text = text.strip()[:_MOST_TEXT].rstrip(".")
    return f": {text}." if text else "."
