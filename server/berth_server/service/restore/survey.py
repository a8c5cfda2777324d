"""
Comparison of a database with the run directories beside it.

A database that was put back from a copy does not know what has happened since; the run directories
do, of every attempt that was started. It reads, and changes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from berth.protocol.states import JobState
from berth_server.service.restore.found import FoundAttempt, read
from berth_server.store import attempts
from berth_server.store.database import Reader
from berth_server.store.records import AttemptRecord

Key = tuple[int, int]
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything on disk that a database does not know."""

    adopted: tuple[FoundAttempt, ...] = ()
    """Attempts that it does not know, in order of job and number."""
    unreadable: tuple[Key, ...] = ()
    """Run directories without a whole record: their numbers are not given out again."""
    over: tuple[tuple[AttemptRecord, FoundAttempt | None], ...] = field(default=(), repr=False)
    """Attempts that it takes for living, although a later one has had their job or their GPUs."""

    @property
    def is_news(self) -> bool:
        """True if there is anything to take in."""
        return bool(self.adopted or self.unreadable)

    @property
    def going_on(self) -> list[FoundAttempt]:
        """The adopted attempts that run, or were about to start."""
        return [one for one in self.adopted if not one.is_over and not one.refused]


def look(reader: Reader, runs: Path, *, all_jobs: bool) -> Survey:
    """
    Compare a database with the run directories below `runs`.

    With `all_jobs` the directories of ended jobs are looked at too: they may have been retried
    since a copy was made.
    """
    known = dict(reader.all("SELECT id, state FROM jobs"))
    rows: set[Key] = set()
    for job_id, number in reader.all("SELECT job_id, number FROM attempts"):
        rows.add((job_id, number))
    adopted: list[FoundAttempt] = []
    unreadable: list[Key] = []
    for job_id in numbers(runs):
        state = known.get(job_id)
        if state is not None and JobState(state).is_final and not all_jobs:
            continue
        for number in numbers(runs / str(job_id)):
            if (job_id, number) in rows:
                continue
            found = read(runs / str(job_id) / str(number), job_id, number)
            if found is None:
                unreadable.append((job_id, number))
            else:
                adopted.append(found)
    over = _over(attempts.unreleased(reader), adopted, lambda key: _read(runs, key))
    return Survey(tuple(adopted), tuple(unreadable), tuple(over))


def _over(
    living: Collection[AttemptRecord],
    adopted: Collection[FoundAttempt],
    read_known: Callable[[Key], FoundAttempt | None],
) -> list[tuple[AttemptRecord, FoundAttempt | None]]:
    """
    Return the attempts of the database whose end the adopted ones prove.

    A job is tried once at a time and a GPU has one holder: the queue would not have started the
    later one otherwise.
    """
    last = {one.key[0]: one.key[1] for one in adopted}
    held = {
        gpu.uuid
        for one in adopted
        if not one.is_over
        for gpu in one.desired.gpus
        if not one.desired.share
    }
    ports = {one.desired.master_port for one in adopted if not one.is_over} - {None}
    over: list[tuple[AttemptRecord, FoundAttempt | None]] = []
    for record in living:
        later = last.get(record.job_id, 0) > record.number
        if later or record.master_port in ports or any(uuid in record.gpus for uuid in held):
            found = read_known((record.job_id, record.number))
            if found is None or found.state != "running":
                over.append((record, found))
    return over


def _read(runs: Path, key: Key) -> FoundAttempt | None:
    job_id, number = key
    return read(runs / str(job_id) / str(number), job_id, number)


def numbers(folder: Path) -> list[int]:
    """Return the numbers among the names of a folder, ascending; none of a folder that is gone."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names alone are needed
    except OSError:
        return []
    return sorted(int(name) for name in names if _NUMBER.fullmatch(name))
