"""Submission of an attempt: its run directory, its batch script, its name."""

from __future__ import annotations

import os
import secrets
import sys
from math import ceil
from pathlib import Path

from berth.home import Home
from berth.protocol.internal import DesiredAttempt
from berth_worker.attempts.rundir import RunDir
from berth_worker.launch import code
from berth_worker.launch.account import account
from berth_worker.slurm.client import Submission
from berth_worker.slurm.options import SlurmOptions

_BACKSTOP_MINUTES = 2
SUBMITTED = "submitted"
"""The file of a run directory that is written before Slurm is asked."""


def home_name(home: Home) -> str:
    """Return the name of a home among all that use a cluster, made once. Raises OSError."""
    file = home.folder / "slurm.name"
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(secrets.token_hex(4) + "\n", "ascii")
        part.rename(file)
        return file.read_text("ascii").strip()


def job_name(home: str, attempt: DesiredAttempt) -> str:
    """Return the name of an attempt's job in Slurm: its identity, since ids are given out again."""
    return f"berth-{home}-{attempt.attempt}-{attempt.token[:8]}"


def prepare(desired: DesiredAttempt, folder: RunDir) -> None:
    """
    Make the run directory for the job's user, whose shim writes all of it. Raises OSError.

    May be repeated until the attempt is claimed. Raises LaunchError for an unknown user.
    """
    who = account(desired.uid)
    owner = (who.uid, who.gid) if os.geteuid() == 0 else None
    folder.make(owner)
    folder.write("spec.json", desired.model_dump_json().encode(), owner=who.uid if owner else None)
    if desired.snapshot is not None:
        code.make(code.folder(desired), who.uid if owner else None)
    if owner is not None:
        os.chown(folder.path, *owner, follow_symlinks=False)
    folder.write(SUBMITTED, b"")


def submission(
    desired: DesiredAttempt, name: str, options: SlurmOptions, avoid: frozenset[str] = frozenset()
) -> Submission:
    """Return what is submitted for an attempt; nodes to `avoid` are not asked for."""
    who = account(desired.uid)
    as_other = os.geteuid() == 0
    planned = {gpu.uuid.rpartition(":")[0] for gpu in desired.gpus}
    wanted = sorted(planned - avoid)
    return Submission(
        name=name,
        run_dir=desired.run_dir,
        script=script(desired, options.python or sys.executable),
        nodes=desired.nodes,
        gpus_a_node=len(desired.gpus) // desired.nodes,
        minutes=_minutes(desired),
        wanted_nodes=tuple(wanted),
        uid=who.uid if as_other else None,
        gid=who.gid if as_other else None,
        extra=options.args,
    )


def _minutes(desired: DesiredAttempt) -> int | None:
    """Return Slurm's limit: the shim keeps the job's own to the second, this one is behind it."""
    if desired.time_limit is None:
        return None
    whole = desired.time_limit + desired.grace
    return ceil(whole.total_seconds() / 60) + _BACKSTOP_MINUTES


def script(desired: DesiredAttempt, python: str) -> str:
    """Return the batch script: fixed text around two paths, no word of the user's."""
    module = "gang" if desired.nodes > 1 else "single"
    return (
        "#!/bin/sh\n"
        "# --export=NONE makes srun start its own processes with an empty environment.\n"
        "unset SLURM_EXPORT_ENV\n"
        f"exec {_quoted(python)} -m berth_worker.slurm.on_node.{module} "
        f"{_quoted(desired.run_dir)}\n"
    )


def _quoted(path: str) -> str:
    return "'" + str(Path(path)).replace("'", "'\\''") + "'"
