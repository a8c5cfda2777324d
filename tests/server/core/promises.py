"""Promises to a blocked job at the head of the queue, compared with its later start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from berth_server.core.limits import LimitUsage
from berth_server.core.model import Plan, Snapshot

SLACK = timedelta(minutes=1)
"""What is about to end counts as a minute, however little is left of it."""


@dataclass(frozen=True)
class Promise:
    """Latest start of a job, and the jobs before it in the order then."""

    at: datetime
    before: frozenset[int]
    claims: frozenset[int]
    """Those of them that claimed GPUs as well."""


class Promises:
    """
    A job that claims GPUs starts by the first `latest` that its claim named, if from then on
    every attempt has a time limit and keeps it, with any job backfilled behind it.

    What lies outside of that plan ends the promise: trouble with GPUs, reservations, stopped
    attempts, other settings (`forget`); a job that is now before it in the order,
    or starts before it from there; a budget that is used up, or an edge of the calendar that
    brings a limit; an attempt without a time limit.
    """

    def __init__(self) -> None:
        self.kept: dict[int, Promise] = {}
        self.met = 0
        """How many started by the time they were promised."""

    def forget(self) -> None:
        """Something happened that no plan could know."""
        self.kept.clear()

    def look(self, snapshot: Snapshot, made: Plan) -> None:
        """Hold a plan against what was promised before, and take in what it promises."""
        place = {job_id: i for i, job_id in enumerate(made.order)}
        started = set(made.started)
        latest = {claim.job_id: claim.latest for claim in made.claims}
        for job_id, promise in list(self.kept.items()):
            if job_id not in place:
                del self.kept[job_id]
                continue
            ahead = set(made.order[: place[job_id]])
            # One ahead that a limit had kept, and that has the reservation now, puts it off rightly.
            waits_for = (ahead & latest.keys()) - promise.claims
            if ahead - promise.before or ahead & started or waits_for:
                del self.kept[job_id]
            elif job_id in started:
                assert snapshot.now <= promise.at + SLACK
                self.met += 1
                del self.kept[job_id]
            elif job_id in latest:
                shown = latest[job_id]
                assert shown is not None
                assert shown <= promise.at + SLACK
            elif (
                exceeded := LimitUsage(snapshot, made.settings).exceeded(snapshot.pending[job_id])
            ) is not None:
                # Its place within the limits was promised as well: it may not be taken from behind.
                assert exceeded.resource == "gpu_hours" or made.settings.calendar, exceeded
                del self.kept[job_id]
        # Of leftovers, and of attempts that stop, the end is a guess; a guess that is off by a
        # minute can miss the gap before a reservation.
        guesses = any(
            card.unavailable and card.unavailable.kind == "leftover" for card in snapshot.gpus
        )
        guesses = guesses or bool(snapshot.reservations) or bool(made.preemptions)
        views = [*snapshot.running, *(snapshot.pending[i] for i in started)]
        if guesses or not all(view.time_limit for view in views):
            self.kept.clear()
            return
        for job_id, at in latest.items():
            if at is not None and job_id not in self.kept:
                before = frozenset(made.order[: place[job_id]])
                self.kept[job_id] = Promise(at, before, before & latest.keys())
