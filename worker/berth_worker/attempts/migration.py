"""
Migration of run directories of earlier versions, which were one folder, the job's user's own.

An attempt that has ended is brought into the present layout: its run directory becomes the
worker's, and what the job wrote moves into the folder below it. One that still runs keeps its
layout until a later start, because its job and its shim go on using it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

from berth import jobfiles
from berth_worker.attempts.run_records import Claim
from berth_worker.shim import files
from berth_worker.shim.folders import OF_THE_JOB, link_files

_log = structlog.get_logger(__name__)
_LAYOUT = b"2\n"
_NOTE = ".layout"
_OURS = frozenset(
    [
        "spec.json",
        "launch.json",
        "started",
        "shim.json",
        "shim.error",
        "stop.json",
        "limit.json",
        "exit.json",
    ]
)
_CLAIM_BYTES = 4096


def migrate(runs: Path) -> int:
    """
    Bring the run directories below `runs` into the present layout; return how many were.

    Looks at them until none of an earlier layout is left, then never again. One that cannot be
    brought over is logged and stays readable as it is.
    """
    root = files.open_folder(str(runs))
    try:
        if files.read_small(root, _NOTE, len(_LAYOUT)) == _LAYOUT:
            return 0
        done, left = 0, 0
        for name, folder in _attempts(root):
            try:
                if not _is_present(folder):
                    if _is_alive(folder):
                        left += 1
                    else:
                        _convert(folder, name.replace("/", "."))
                        done += 1
            except OSError as error:
                _log.warning(
                    "a run directory of an earlier version stays as it is",
                    action="rundir.not_migrated",
                    run_dir=f"{runs}/{name}",
                    reason=error.strerror,
                )
        if not left:
            with contextlib.suppress(OSError):
                files.replace(root, _NOTE, _LAYOUT)
        return done
    finally:
        os.close(root)


def _attempts(root: int) -> Iterator[tuple[str, int]]:
    """Yield every run directory, open for as long as the caller looks at it."""
    for job in _numbers(root):
        with contextlib.suppress(OSError):
            parent = files.open_folder(job, root)
            try:
                for number in _numbers(parent):
                    folder = jobfiles.open_folder(number, within=parent)
                    if folder is None:
                        continue
                    try:
                        yield f"{job}/{number}", folder
                    finally:
                        os.close(folder)
            finally:
                os.close(parent)


def _numbers(folder: int) -> list[str]:
    return [name for name in os.listdir(folder) if name.isascii() and name.isdigit()]


def _is_present(folder: int) -> bool:
    """Return whether a run directory has the present layout."""
    if os.fstat(folder).st_uid != os.geteuid():
        return False
    inner = jobfiles.open_folder(jobfiles.FOLDER, within=folder)
    if inner is not None:
        os.close(inner)
    return inner is not None


def _is_alive(folder: int) -> bool:
    """Return whether the shim of a run directory still runs."""
    try:
        return Claim.model_validate_json(_claim(folder) or b"").identity().alive
    except ValueError:
        return False


def _has_claim(folder: int) -> bool:
    return _claim(folder) is not None


def _claim(folder: int) -> bytes | None:
    """Return the content of a claim that we wrote; None when there is none."""
    try:
        handle = jobfiles.open_file(folder, "started", {os.geteuid(), 0}, one_name=False)
    except jobfiles.NotOwnFileError:
        return None
    if handle is None:
        return None
    try:
        return jobfiles.read_end(handle, _CLAIM_BYTES)
    finally:
        os.close(handle)


def _convert(folder: int, attempt: str) -> None:
    """Bring one run directory over; whatever happens midway, the next call goes on with it."""
    facts = os.fstat(folder)
    given_away = facts.st_uid != os.geteuid()
    if given_away and not _has_claim(folder):
        # Its user took the claim away: a folder that was given away has been started.
        with contextlib.suppress(OSError):
            os.rename("started", "started.old", src_dir_fd=folder, dst_dir_fd=folder)
        ended = {"pid": 0, "start_ticks": 0, "boot_id": "", "attempt": attempt}
        with contextlib.suppress(files.AlreadyStartedError):
            files.claim(folder, ended)
    if given_away:
        # First of all: from here on its user can put nothing more beside our files.
        os.fchown(folder, os.geteuid(), os.getegid())
        os.fchmod(folder, 0o755)
    moved = [name for name in os.listdir(folder) if not _stays(folder, name)]
    inner = _make_inner(folder, moved)
    try:
        for name in moved:
            with contextlib.suppress(OSError):  # the job had a folder of that name there, too
                os.rename(name, name, src_dir_fd=folder, dst_dir_fd=inner)
        owner = _owner_of_log(folder, (facts.st_uid, facts.st_gid))
        link_files(folder, inner, jobfiles.FOLDER)
        os.fchown(inner, *owner)
    finally:
        os.close(inner)


def _make_inner(folder: int, moved: list[str]) -> int:
    """Make and open the job's folder; what the job had put under its name moves into it."""
    try:
        os.mkdir(jobfiles.FOLDER, 0o755, dir_fd=folder)
    except FileExistsError:
        facts = os.stat(jobfiles.FOLDER, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(facts.st_mode):
            aside = f"{jobfiles.FOLDER}.{os.getpid()}.old"
            os.rename(jobfiles.FOLDER, aside, src_dir_fd=folder, dst_dir_fd=folder)
            moved.append(aside)
            os.mkdir(jobfiles.FOLDER, 0o755, dir_fd=folder)
    return files.open_folder(jobfiles.FOLDER, folder)


def _stays(folder: int, name: str) -> bool:
    """Return whether an entry is one of our files, or the job's log as it was given to it."""
    if name == jobfiles.FOLDER:
        return True
    facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(facts.st_mode):
        return name in OF_THE_JOB and facts.st_uid == os.geteuid()
    if not stat.S_ISREG(facts.st_mode):
        return False
    if name == "output.log":
        return facts.st_nlink == 1
    return name in _OURS and facts.st_uid in {os.geteuid(), 0}


def _owner_of_log(folder: int, otherwise: tuple[int, int]) -> tuple[int, int]:
    """Return the job's user: a run that was interrupted has given the folder to us already."""
    try:
        facts = os.stat("output.log", dir_fd=folder, follow_symlinks=False)
    except OSError:
        return otherwise
    return facts.st_uid, facts.st_gid
