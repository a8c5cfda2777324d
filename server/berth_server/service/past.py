"""What earlier runs tell: how long a job may take, and how much its user had of late."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING

from berth.commands import CommandError
from berth_server.core.estimate import Estimate, History, RunKey
from berth_server.core.model import Usage
from berth_server.service.check import read_command
from berth_server.store import attempts, gpus
from berth_server.store.attempts import Run
from berth_server.store.database import Reader
from berth_server.store.records import JobRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_server.service.board import Board

_RUNS = 5000
# After so many half-lives less than a thousandth is left.
_HALF_LIVES = 10


class Past:
    """Lengths of ended runs and GPU time by user; filled from the database at the start."""

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._history = History()
        self._estimates: dict[RunKey, Estimate | None] = {}
        self._used: dict[str, tuple[float, float]] = {}
        """By user: GPU seconds as of a moment, decayed up to it."""

    def load(self, reader: Reader, now: float) -> None:
        """Read what is known."""
        for run in reversed(attempts.runs(reader, _RUNS)):
            self._history.record(_key(run), run.length_s)
        since = now - _HALF_LIVES * self._half_life_s
        for user, begin, end in gpus.lease_spans(reader, since):
            if end is not None:
                self.used(user, end - max(begin, since), end)

    def ran(self, job: JobRecord, length_s: float) -> None:
        """A run of a job came to its own good end."""
        run = Run(
            job.user, job.gpus, job.command, job.script, job.labels, job.time_limit_s, length_s
        )
        self._history.record(_key(run), length_s)
        self._estimates.clear()

    def used(self, user: str, gpu_s: float, at: float) -> None:
        """A user gave back what they had for so many GPU seconds."""
        self._used[user] = (
            self._left(user, at) + gpu_s,
            max(at, self._used.get(user, (0.0, at))[1]),
        )

    def estimate(self, job: JobRecord) -> Estimate | None:
        """How long a job may run; None when nothing like it ran before."""
        run = Run(job.user, job.gpus, job.command, job.script, job.labels, job.time_limit_s, 0.0)
        key = _key(run)
        if key not in self._estimates:
            self._estimates[key] = self._history.estimate(key)
        return self._estimates[key]

    def usage(self, board: Board, now: float) -> Mapping[str, Usage]:
        """What each user had of late, what they have now included."""
        totals = {user: self._left(user, now) for user in self._used}
        for record in board.alive.values():
            held_s = max(0.0, now - record.created_at)
            user = board.running[record.job_id, record.number].user
            totals[user] = totals.get(user, 0.0) + held_s * len(board.gpus_of(record))
        return MappingProxyType({u: Usage(decayed_gpu_s=value) for u, value in totals.items()})

    def _left(self, user: str, now: float) -> float:
        value, at = self._used.get(user, (0.0, now))
        return value * 0.5 ** (max(0.0, now - at) / self._half_life_s)


def _key(run: Run) -> RunKey:
    labels = json.loads(run.labels) if run.labels != "{}" else {}
    return RunKey(
        user=run.user,
        script=_script(run),
        gpus=run.gpus,
        ablation=labels.get("ablation", ""),
        limit_s=run.time_limit_s,
    )


def _script(run: Run) -> str:
    """What is run: the script's path, else the first words."""
    command = None if run.command is None else json.loads(run.command)
    try:
        view = read_command(command, run.script)
    except CommandError:
        return ""
    return view.script_path or view.text[:80]
