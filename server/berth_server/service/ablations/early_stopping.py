"""Ending runs of an ablation early, as its rule says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from berth.protocol.ablations import EarlyStop
from berth.protocol.states import PENDING_STATES, JobState, Outcome
from berth_server.core.early_stopping import Curve, Stop, stops
from berth_server.core.explain.attempt_end import stopped_early
from berth_server.service.ablations.compare import rule_of
from berth_server.service.attempts.status import set_job_state, stop_attempt
from berth_server.service.jobs import lookup
from berth_server.service.jobs.dependents import on_job_ended
from berth_server.service.logs.curves import Curves
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import ablations, attempts, jobs
from berth_server.store.records import AttemptRecord, JobRecord

log = structlog.get_logger()


@dataclass(frozen=True)
class Watched:
    """An ablation with a rule, of which a job has not ended."""

    id: str
    rule: EarlyStop
    jobs: list[JobRecord]
    last: Mapping[int, AttemptRecord]
    """The newest attempt of each job that had one."""

    @property
    def stoppable(self) -> set[int]:
        """Those that run; for the rule `target` also those that have not started."""
        states = {JobState.STARTING, JobState.RUNNING}
        if self.rule.rule == "target":
            states |= PENDING_STATES
        return {job.id for job in self.jobs if lookup.state_of(job) in states}


class EarlyStops:
    """Looks at ablations with rules now and then; remembers how far it has read."""

    def __init__(self) -> None:
        self._curves: dict[str, Curves] = {}

    def watched(self, server: ServerState) -> list[Watched]:
        """The ablations to look at now."""
        found: list[Watched] = []
        for record in ablations.with_rules(server.db.read):
            rule = rule_of(record)
            assert rule is not None
            owned = jobs.of_ablation(server.db.read, record.id)
            tries = attempts.of_jobs(server.db.read, [job.id for job in owned if job.attempts])
            last = {job_id: of_job[-1] for job_id, of_job in tries.items()}
            found.append(Watched(record.id, rule, owned, last))
        self._curves = {one.id: self._known(one) for one in found}
        return found

    def read(self, watched: Watched) -> dict[int, Stop]:
        """Return the jobs to end, each with the reason. Reads files, on a thread."""
        known = self._curves[watched.id]
        curves: dict[int, Curve] = {}
        for job in watched.jobs:
            record = watched.last.get(job.id)
            if record is not None:
                ended = record.state == "ended"
                try:
                    curve = known.read(record.id, record.run_dir, job.uid, ended=ended)
                except Exception:
                    # What one job wrote must not keep the others from their rule.
                    log.exception("early_stop.unreadable", attempt=record.id)
                    continue
                curves[job.id] = curve
        return stops(watched.rule, curves, watched.stoppable)

    def _known(self, watched: Watched) -> Curves:
        known = self._curves.get(watched.id)
        return known if known is not None and known.rule == watched.rule else Curves(watched.rule)


def on_early_stop(server: ServerState, watched: Watched, ends: Mapping[int, Stop]) -> None:
    """
    End jobs of an ablation: running ones by TERM and their grace, pending ones at once.

    A job that has ended since it was looked at, or started another attempt, is left alone.
    """
    if not ends:
        return
    with change(server) as tx:
        for job_id, why in ends.items():
            message = stopped_early(why)
            job = jobs.get(tx, job_id)
            attempt = attempts.last(tx, job_id)
            seen = watched.last.get(job_id)
            if job is None or (attempt and attempt.id) != (seen and seen.id):
                continue
            state = lookup.state_of(job)
            if state.is_active and attempt is not None and attempt.state != "ended":
                stop_attempt(tx, attempt, Outcome.EARLY_STOPPED, message)
            elif not state.is_active and not state.is_final:
                set_job_state(
                    tx, job_id, JobState.CANCELLED, message, outcome=Outcome.EARLY_STOPPED
                )
                on_job_ended(tx, job_id, JobState.CANCELLED)
