"""Running an attempt in code that was frozen at its submit."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from berth import snapshots
from berth.protocol.internal import DesiredAttempt, FrozenCode
from berth_worker.launch.error import LaunchError


def folder(desired: DesiredAttempt) -> Path:
    """Where the job's code lies: one for all its attempts, so that they find what it wrote."""
    return Path(desired.run_dir).parent / "code"


def unpacking(
    desired: DesiredAttempt, frozen: FrozenCode, python: str, argv: list[str]
) -> list[str]:
    """
    The command that unpacks the code, as the job's own first process, and becomes `argv`.

    It is run by the job's own interpreter, and as text: its user may not read Berth's files.
    """
    program = [python, "-I", "-S", "-c", snapshots.UNPACK.read_text(encoding="utf-8")]
    return [*program, frozen.archive, frozen.digest, str(folder(desired)), frozen.subdir, *argv]


def has(frozen: FrozenCode, script: str) -> bool:
    """Whether the frozen code holds a script that is named relative to the job's folder."""
    if script.startswith("/"):
        return Path(script).exists()
    path = os.path.normpath(f"{snapshots.TREE}/{frozen.subdir}/{script}")
    try:
        with tarfile.open(frozen.archive) as tar:
            return path in tar.getnames()
    except (OSError, tarfile.TarError):
        raise LaunchError(
            f"The job's frozen code {frozen.archive} cannot be read; submit the job again."
        ) from None


def make(path: Path, owner: int | None) -> None:
    """Make the folder for the code, its user's own. Raises OSError."""
    path.mkdir(mode=0o700, exist_ok=True)
    if owner is not None:
        os.chown(path, owner, -1)
