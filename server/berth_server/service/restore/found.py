"""
An attempt as its run directory shows it, for a database that does not know it.

Only the worker's own folder is read, and in it only what root or this user wrote: nothing of what a
job can write decides anything here.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ValidationError

from berth import jobfiles
from berth.daemons.identity import Identity
from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import DesiredAttempt, ExitRecord, LeasedGpu

_SMALL_BYTES = 64 << 10
_LAUNCH_BYTES = 64 << 20
_NOBODY = {"pid": 0, "start_ticks": 0, "boot_id": ""}

State = Literal["unstarted", "running", "ended", "lost"]


@dataclass(frozen=True, slots=True)
class FoundAttempt:
    """One attempt on disk."""

    desired: DesiredAttempt = field(repr=False)
    """The orders that it was given, from spec.json; without one, what launch.json tells of them."""
    state: State
    """`lost`: its shim is gone and left no exit record."""
    exit: ExitRecord | None = None
    started_at: float | None = None
    """Unix seconds."""
    launch: LaunchFacts | None = None
    whole: bool = True
    """False when there is no spec.json: it cannot be started from what is known of it."""
    refused: bool = False
    """It was stopped before its start and never will start."""
    warned: bool = False
    """It was asked to save before it was stopped, as only preempted attempts are."""

    @property
    def key(self) -> tuple[int, int]:
        """Job and number."""
        return self.desired.job_id, self.desired.number

    @property
    def is_over(self) -> bool:
        """True if nothing of it will run any more, as far as its records tell."""
        return self.state in {"ended", "lost"}


def read(folder: Path, job_id: int, number: int) -> FoundAttempt | None:
    """Return the attempt of a run directory; None when its records do not tell one whole story."""
    opened = jobfiles.open_folder(folder)
    if opened is None:
        return None
    try:
        return _read(opened, folder, job_id, number)
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    finally:
        os.close(opened)


def _read(opened: int, folder: Path, job_id: int, number: int) -> FoundAttempt | None:
    owners = {os.geteuid(), 0}
    spec = _bytes(opened, "spec.json", owners, _LAUNCH_BYTES)
    launch = _object(opened, "launch.json", owners, _LAUNCH_BYTES)
    claim = _object(opened, "started", owners)
    if not claim and _exists(opened, "started"):
        claim = _NOBODY  # not whole: the disk lost it in a power cut
    shim = _object(opened, "shim.json", owners)
    ended = _object(opened, "exit.json", owners)
    attempt = f"{job_id}.{number}"
    if spec:
        desired = DesiredAttempt.model_validate_json(spec)
    elif launch:
        desired = _from_launch(launch, folder, job_id, number)
    else:
        return None
    tokens = {one["token"] for one in (launch, claim, shim, ended) if one.get("token")}
    names = {one["attempt"] for one in (launch, claim, shim, ended) if one.get("attempt")}
    if tokens - {desired.token} or names - {attempt} or desired.attempt != attempt:
        return None
    record = None
    if ended.get("ended_at"):
        kept = {name: value for name, value in ended.items() if name != "token"}
        record = ExitRecord.model_validate_json(json.dumps(kept))
    facts = launch.get("facts")
    return FoundAttempt(
        desired=desired.model_copy(update={"run_dir": str(folder)}),
        state=_state(claim, record),
        exit=record,
        started_at=_started_at(record, shim),
        launch=None if not facts else LaunchFacts.model_validate_json(json.dumps(facts)),
        whole=bool(spec),
        refused=bool(claim.get("refused")) and record is None,
        warned=(jobfiles.finite(_object(opened, "stop.json", owners).get("warn_s")) or 0.0) > 0.0,
    )


def _state(claim: dict[str, Any], record: ExitRecord | None) -> State:
    if record is not None:
        return "ended"
    if not claim:
        return "unstarted"
    who = Identity(int(claim["pid"]), int(claim["start_ticks"]), str(claim["boot_id"]))
    return "running" if who.alive and not claim.get("refused") else "lost"


def _started_at(record: ExitRecord | None, shim: dict[str, Any]) -> float | None:
    if record is not None and record.started_at is not None:
        return record.started_at.timestamp()
    said = shim.get("started_at")
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(said).timestamp() if isinstance(said, str) else None
    return None


def _from_launch(launch: dict[str, Any], folder: Path, job_id: int, number: int) -> DesiredAttempt:
    """Return what launch.json tells of an attempt's orders: a worker died before it wrote spec.json."""
    env: dict[str, str] = launch["env"]
    uuids = [one for one in env["BERTH_GPU_UUIDS"].split(",") if one]
    indices = [int(one) for one in env["BERTH_GPU_INDICES"].split(",") if one]
    uid = os.geteuid() if launch["uid"] is None else int(launch["uid"])
    limit_s = launch["time_limit_s"]
    return DesiredAttempt(
        attempt=f"{job_id}.{number}",
        token=launch["token"],
        action="run",
        run_dir=str(folder),
        job_id=job_id,
        number=number,
        user=_name(uid),
        uid=uid,
        command=launch["facts"]["before"] or launch["argv"],
        workdir=env.get("BERTH_WORKDIR") or str(launch["cwd"]),
        gpus=tuple(
            LeasedGpu(uuid=uuid, index=index) for uuid, index in zip(uuids, indices, strict=True)
        ),
        master_port=launch["facts"]["master_port"],
        time_limit=None if limit_s is None else timedelta(seconds=limit_s),
        grace=timedelta(seconds=launch["grace_s"]),
        warn_before=timedelta(seconds=launch["warn_before_s"]),
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _object(
    opened: int, name: str, owners: Collection[int], most_bytes: int = _SMALL_BYTES
) -> dict[str, Any]:
    """Return a record; empty when there is none that can be read."""
    raw = _bytes(opened, name, owners, most_bytes)
    try:
        found = json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _bytes(opened: int, name: str, owners: Collection[int], most_bytes: int) -> bytes:
    try:
        # A claim has two names while it is made.
        handle = jobfiles.open_file(opened, name, owners, one_name=False)
    except jobfiles.NotOwnFileError:
        return b""
    if handle is None:
        return b""
    try:
        raw = jobfiles.read_end(handle, most_bytes + 1)
    finally:
        os.close(handle)
    return raw if len(raw) <= most_bytes else b""


def _exists(opened: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=opened, follow_symlinks=False)
    except OSError:
        return False
    return True
