"""Run history: how long jobs of a kind ran, from the database and from each run that ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

from berth.commands import CommandError
from berth.protocol.specs import JobSpec
from berth_server.core.estimate import Estimate, RunKey, RunTimes
from berth_server.core.progress.work import Work
from berth_server.service.jobs.check import read_command
from berth_server.store import attempts
from berth_server.store.database import Reader
from berth_server.store.records import JobRecord

_RUNS = 5000
_KINDS = 1024


class RunHistory:
    """Lengths of ended runs; loaded from the database at the start."""

    def __init__(self, reader: Reader) -> None:
        """Load the latest runs."""
        self._times = RunTimes()
        for run in reversed(attempts.runs(reader, _RUNS)):
            self._times.record(_key(run.user, run.spec, run.work), run.length_s)

    def ran(self, job: JobRecord, length_s: float) -> None:
        """Add a run that succeeded."""
        self._times.record(_key(job.user, job.spec, job.work), length_s)

    def estimate(self, job: JobRecord) -> Estimate | None:
        """Return the run times a job may have; None when nothing like it ran before."""
        return self._times.estimate(_key(job.user, job.spec, job.work))

    def unlimited(self, user: str, spec: JobSpec, work: str | None) -> Estimate | None:
        """Return the run times that such a job would have without a time limit."""
        return self._times.estimate(replace(_key(user, spec, work), limit_s=None))

    @property
    def sizes(self) -> Mapping[int, int]:
        """Number of the latest runs for each number of GPUs."""
        return self._times.sizes


def _key(user: str, spec: JobSpec, work: str | None) -> RunKey:
    command = tuple(spec.command) if isinstance(spec.command, list) else spec.command
    ablation = spec.labels.get("ablation", "")
    return _kind(user, spec.gpus or 0, command, spec.script, ablation, spec.time_limit, work)


@lru_cache(maxsize=_KINDS)
def _kind(
    user: str,
    gpus: int,
    command: tuple[str, ...] | str | None,
    script: str | None,
    ablation: str,
    limit: timedelta | None,
    work: str | None,
) -> RunKey:
    """The kind of run that a job is; queues hold the same kind many times."""
    return RunKey(
        user=user,
        script=_script(command, script),
        gpus=gpus,
        ablation=ablation,
        limit_s=None if limit is None else limit.total_seconds(),
        work=Work.decode(work),
    )


def _script(command: tuple[str, ...] | str | None, script: str | None) -> str:
    """The script's path, else the first words of the command."""
    try:
        view = read_command(list(command) if isinstance(command, tuple) else command, script)
    except CommandError:
        return ""
    return view.script_path or view.text[:80]
