"""Finish of an attempt: evidence, verdict, removal of orphaned processes. All of it blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from berth.daemons.identity import boot_id
from berth.protocol.base import utc_now
from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import ExitRecord
from berth_worker.attempts import orphans
from berth_worker.attempts.attempt import Attempt
from berth_worker.attempts.run_records import ShimRecord
from berth_worker.attempts.rundir import RunDir
from berth_worker.diagnose import Evidence, Verdict, judge
from berth_worker.shim import ports, process_tree

_log = structlog.get_logger(__name__)
_TAIL_BYTES = 256 << 10


class StartedError(Exception):
    """The attempt has been started after all."""


def is_plain(record: ExitRecord | None) -> bool:
    """Return whether the exit record alone explains the end."""
    return record is not None and (record.exit_code == 0 or record.cause != "exit")


def verdict(attempt: Attempt) -> Verdict:
    """Gather the evidence and return the verdict."""
    record = attempt.exit_record
    if is_plain(record):
        evidence = Evidence(desired=attempt.desired, record=record)
    else:
        evidence = _gather(attempt)
    found = judge(evidence)
    _log.info(
        "attempt ended",
        action="attempt.ended",
        attempt=attempt.name,
        outcome=found.outcome.value,
        exit_code=record.exit_code if record else None,
        signal=record.signal if record else None,
    )
    return found


def unexplained(attempt: Attempt) -> Verdict:
    """Return the verdict where what the job left could not be examined."""
    found = judge(Evidence(desired=attempt.desired, record=attempt.exit_record))
    sentence = "What it left could not be examined; see its log and the worker's log."
    return Verdict(found.outcome, sentence)


def _gather(attempt: Attempt) -> Evidence:
    folder = attempt.folder
    shim_record = folder.shim_record()
    return Evidence(
        desired=attempt.desired,
        record=attempt.exit_record,
        log_tail=folder.log_tail(_TAIL_BYTES),
        failure=folder.failure(),
        memory_kills=_memory_kills_since(shim_record),
        kills_counted=shim_record is not None and shim_record.oom_kills is not None,
        free_bytes=_free_bytes(folder.path, Path(attempt.desired.workdir)),
        port_busy=_is_busy(attempt.desired.master_port),
        own_pids=frozenset(attempt.seen_pids),
        shim_error=folder.shim_error() if attempt.exit_record is None else None,
        rebooted=attempt.shim is not None and attempt.shim.boot_id != boot_id(),
    )


def _is_busy(port: int | None) -> bool:
    """True if a process listens on the port of an attempt whose own processes are gone."""
    return port is not None and ports.is_used(port, lingering=False)


def _memory_kills_since(shim_record: ShimRecord | None) -> int:
    """Kernel memory kills since the job began; 0 for a job too short to have a shim.json."""
    if shim_record is None or shim_record.oom_kills is None:
        return 0
    return process_tree.oom_kills() - shim_record.oom_kills


def _free_bytes(*folders: Path) -> int | None:
    found: list[int] = []
    for folder in folders:
        try:
            stat = os.statvfs(folder)
        except OSError:
            continue
        found.append(stat.f_bavail * stat.f_frsize)
    return min(found, default=None)


def kill_orphans(
    home: Path, attempt: Attempt, gpus: Sequence[GpuSnapshot], fork_server: int | None
) -> None:
    """
    Kill the processes that are left of an attempt whose shim is gone.

    Among them those that hold its GPUs in the place of an ended process of its own: the driver
    lists the dead one only, and a cleared environment leaves no other mark.
    """
    known = attempt.processes
    first = {attempt.shim_record.first.pid} if attempt.shim_record is not None else set[int]()
    heirs = orphans.heirs(attempt.desired.gpus, attempt.seen_pids | first, known, gpus)
    traces = orphans.Traces(attempt.folder.log_identity(), next(iter(first), None), fork_server)
    count, attempt.orphans = orphans.kill(home, replace(known, pids=known.pids | heirs), traces)
    if count:
        _log.warning(
            "orphaned processes of an ended attempt were killed",
            action="leftovers.killed",
            attempt=attempt.name,
            count=count,
            left=attempt.orphans,
        )


def write_launch_error(
    folder: RunDir, sentence: str, *, prologue_failed: bool = False
) -> ExitRecord:
    """
    Record in the attempt's log and exit record that it could not be started.

    Raises StartedError when a shim has claimed it meanwhile.
    """
    record = ExitRecord(
        attempt=folder.attempt,
        cause="launch_error",
        message=sentence,
        prologue_failed=prologue_failed,
        ended_at=utc_now(),
    )
    try:
        folder.make()
        if not folder.block():
            raise StartedError
        folder.append_to_log(sentence)
        folder.write_exit(record)
    except OSError as error:
        # A full disk: the server keeps the record, the run directory cannot.
        _log.warning("exit.json: not written", attempt=folder.attempt, reason=error.strerror)
    return record
