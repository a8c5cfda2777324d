"""Frozen code: an attempt runs in the code as it was at submit."""

from __future__ import annotations

import os
from pathlib import Path

from berth import snapshots
from berth.protocol.internal import DesiredAttempt, FrozenCode
from berth_worker.launch import as_user
from berth_worker.launch.account import Account
from berth_worker.launch.error import LaunchError


def folder(desired: DesiredAttempt) -> Path:
    """Return the folder of the job's code, shared by its attempts, so that they find its files."""
    return Path(desired.run_dir).parent / "code"


def unpacking(
    desired: DesiredAttempt, frozen: FrozenCode, python: str, argv: list[str]
) -> list[str]:
    """
    Return the command that unpacks the code, as the job's own first process, and executes `argv`.

    The job's own interpreter gets it as text: its user may not be allowed to read Berth's files.
    """
    program = [python, "-I", "-S", "-c", snapshots.UNPACK.read_text(encoding="utf-8")]
    return [*program, frozen.archive, frozen.digest, str(folder(desired)), frozen.subdir, *argv]


def has(frozen: FrozenCode, script: str, who: Account) -> bool:
    """Return whether the frozen code holds a script, named relative to the job's folder."""
    if script.startswith("/"):
        return Path(script).exists()
    path = os.path.normpath(f"{snapshots.TREE}/{frozen.subdir}/{script}")
    held = as_user.ask(who, "tar-holds", frozen.archive, path)
    if held is None:
        raise LaunchError(
            f"The job's frozen code {frozen.archive} cannot be read; submit the job again."
        )
    return held


def make(path: Path, owner: int | None) -> None:
    """Make the folder for the code, its user's own. Raises OSError."""
    path.mkdir(mode=0o700, exist_ok=True)
    # It lies in a folder of ours: no other user can have put another in its place.
    if owner is not None and path.lstat().st_uid != owner:
        os.chown(path, owner, -1, follow_symlinks=False)
