"""What earlier runs tell: how long a job may take, and how much its user had of late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from berth.commands import CommandError
from berth.protocol.jobs import JobSpec
from berth_server.core.estimate import Estimate, History, RunKey
from berth_server.core.gpu_share import part
from berth_server.core.model import Usage
from berth_server.core.settings import PolicySettings
from berth_server.service.jobs.check import read_command
from berth_server.store import attempts, gpus
from berth_server.store.database import Reader
from berth_server.store.records import AttemptRecord, JobRecord

if TYPE_CHECKING:
    from berth_server.service.scheduling.cache import AttemptKey, Board

_RUNS = 5000
_COUNTED = 1000
# After so many half-lives less than a thousandth is left.
_HALF_LIVES = 10
_KINDS = 1024


class Past:
    """Lengths of ended runs and GPU time by user; filled from the database at the start."""

    def __init__(self, settings: PolicySettings) -> None:
        self._half_life_s = settings.usage_half_life.total_seconds()
        self._zone = settings.zone
        self._history = History()
        self._used: dict[str, tuple[float, float]] = {}
        """By user: GPU seconds as of a moment, decayed up to it."""
        self._budget: dict[str, float] = {}
        """By user: GPU seconds given back in the month that began at `_month`."""
        self._month = 0.0
        self._counted: dict[AttemptKey, None] = {}
        """The attempts last released, oldest first."""

    def load(self, reader: Reader, now: float) -> None:
        """Read what is known."""
        for run in reversed(attempts.runs(reader, _RUNS)):
            self._history.record(_key(run.user, run.spec), run.length_s)
        self._month = self._month_of(now)
        since = min(now - _HALF_LIVES * self._half_life_s, self._month)
        for span in gpus.lease_spans(reader, since):
            if span.end is not None:
                counts = part(span.memory_bytes, span.card_bytes)
                self._add(span.user, max(span.begin, since), span.end, counts)

    def ran(self, job: JobRecord, length_s: float) -> None:
        """A run of a job came to its own good end."""
        self._history.record(_key(job.user, job.spec), length_s)

    def gave_back(self, record: AttemptRecord, board: Board, now: float) -> None:
        """An attempt is being released. Telling it again, after a rollback, changes nothing."""
        key = (record.job_id, record.number)
        if key in self._counted:
            return
        self._counted[key] = None
        if len(self._counted) > _COUNTED:
            del self._counted[next(iter(self._counted))]
        run = board.running[key]
        self._add(run.user, record.created_at, now, run.counted_gpus)

    def _add(self, user: str, begin: float, end: float, count: float) -> None:
        last = self._used.get(user, (0.0, end))[1]
        self._used[user] = (self._left(user, end) + (end - begin) * count, max(end, last))
        within_s = max(0.0, end - max(begin, self._month))
        self._budget[user] = self._budget.get(user, 0.0) + within_s * count

    def estimate(self, job: JobRecord) -> Estimate | None:
        """How long a job may run; None when nothing like it ran before."""
        return self._history.estimate(_key(job.user, job.spec))

    @property
    def sizes(self) -> Mapping[int, int]:
        """How many of the runs that ended of late had each number of GPUs."""
        return self._history.sizes

    def usage(
        self, board: Board, now: float, group_of: Callable[[str], str | None]
    ) -> tuple[dict[str, Usage], dict[str, Usage]]:
        """What each user, and each group, had of late, what they have now included."""
        month = self._month_of(now)
        if month != self._month:
            self._month = month
            self._budget.clear()
        faded = {user: self._left(user, now) for user in self._used}
        budget = dict(self._budget)
        for key, record in board.alive.items():
            run = board.running[key]
            count = run.counted_gpus
            held_s = max(0.0, now - record.created_at)
            within_s = max(0.0, now - max(record.created_at, month))
            faded[run.user] = faded.get(run.user, 0.0) + held_s * count
            budget[run.user] = budget.get(run.user, 0.0) + within_s * count
        users = {
            user: Usage(decayed_gpu_s=faded.get(user, 0.0), budget_gpu_s=budget.get(user, 0.0))
            for user in faded.keys() | budget.keys()
        }
        return users, _by_group(users, group_of)

    def _month_of(self, now: float) -> float:
        """When the calendar month of a moment began: budgets start anew there."""
        local = datetime.fromtimestamp(now, self._zone)
        return local.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()

    def _left(self, user: str, now: float) -> float:
        value, at = self._used.get(user, (0.0, now))
        return value * 0.5 ** (max(0.0, now - at) / self._half_life_s)


def _by_group(users: dict[str, Usage], group_of: Callable[[str], str | None]) -> dict[str, Usage]:
    groups: dict[str, Usage] = {}
    for user, usage in users.items():
        name = group_of(user)
        if name is None:
            continue
        known = groups.get(name, Usage())
        groups[name] = Usage(
            decayed_gpu_s=known.decayed_gpu_s + usage.decayed_gpu_s,
            budget_gpu_s=known.budget_gpu_s + usage.budget_gpu_s,
        )
    return groups


def _key(user: str, spec: JobSpec) -> RunKey:
    command = tuple(spec.command) if isinstance(spec.command, list) else spec.command
    ablation = spec.labels.get("ablation", "")
    return _kind(user, spec.gpus or 0, command, spec.script, ablation, spec.time_limit)


@lru_cache(maxsize=_KINDS)
def _kind(
    user: str,
    gpus: int,
    command: tuple[str, ...] | str | None,
    script: str | None,
    ablation: str,
    limit: timedelta | None,
) -> RunKey:
    """The kind of run that a job is; queues hold the same kind many times."""
    return RunKey(
        user=user,
        script=_script(command, script),
        gpus=gpus,
        ablation=ablation,
        limit_s=None if limit is None else limit.total_seconds(),
    )


def _script(command: tuple[str, ...] | str | None, script: str | None) -> str:
    """The script's path, else the first words of the command."""
    try:
        view = read_command(list(command) if isinstance(command, tuple) else command, script)
    except CommandError:
        return ""
    return view.script_path or view.text[:80]
