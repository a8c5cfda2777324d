"""What is done when an attempt has ended: evidence, verdict, clearing up. All of it blocks."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from berth.daemons.identity import boot_id
from berth.protocol.base import utc_now
from berth.protocol.internal import ExitRecord
from berth_worker.attempts import orphans
from berth_worker.attempts.attempt import Attempt
from berth_worker.attempts.rundir import Began, RunDir
from berth_worker.diagnose import Evidence, Verdict, judge
from berth_worker.shim import process_tree

_log = structlog.get_logger(__name__)
_TAIL_BYTES = 256 << 10


class StartedError(Exception):
    """The attempt was started after all."""


def is_plain(record: ExitRecord | None) -> bool:
    """Whether the record alone tells why the attempt ended."""
    return record is not None and (record.exit_code == 0 or record.cause != "exit")


def verdict(attempt: Attempt) -> Verdict:
    """Gather the evidence and judge it."""
    record = attempt.record
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


def _gather(attempt: Attempt) -> Evidence:
    folder = attempt.folder
    return Evidence(
        desired=attempt.desired,
        record=attempt.record,
        log_tail=folder.tail("output.log", _TAIL_BYTES),
        failure=folder.failure(),
        memory_kills=_memory_kills_since(folder.began()),
        free_bytes=_free_bytes(folder.path, Path(attempt.desired.workdir)),
        own_pids=frozenset(attempt.seen_pids),
        rebooted=attempt.shim is not None and attempt.shim.boot_id != boot_id(),
    )


def _memory_kills_since(began: Began | None) -> int:
    """Since a job began, as its shim noted it; one that was over at once has filled no memory."""
    if began is None or began.oom_kills is None:
        return 0
    return process_tree.oom_kills() - began.oom_kills


def _free_bytes(*folders: Path) -> int | None:
    found: list[int] = []
    for folder in folders:
        try:
            stat = os.statvfs(folder)
        except OSError:
            continue
        found.append(stat.f_bavail * stat.f_frsize)
    return min(found, default=None)


def end_processes(home: Path, attempt: Attempt) -> None:
    """Kill what is left of an attempt whose shim is gone."""
    count, attempt.left = orphans.end(home, attempt.processes)
    if count:
        _log.warning(
            "processes of an ended attempt were killed",
            action="leftovers.killed",
            attempt=attempt.name,
            count=count,
            left=attempt.left,
        )


def write_launch_error(folder: RunDir, sentence: str) -> ExitRecord:
    """
    Record that an attempt could not be started, in its log and as its end.

    Raises StartedError when somebody has started it meanwhile.
    """
    record = ExitRecord(
        attempt=folder.attempt, cause="launch_error", message=sentence, ended_at=utc_now()
    )
    try:
        folder.make()
        if not folder.refuse():
            raise StartedError
        folder.say(sentence)
        folder.write("exit.json", record.model_dump_json().encode(), mode=0o644)
    except OSError as error:
        # A full disk: the server keeps the record, the run directory cannot.
        _log.warning("exit.json: not written", attempt=folder.attempt, reason=error.strerror)
    return record
