"""Planning with a long queue: mostly the head of it, now and then all of it."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from berth_server.core.model import JobView, Plan
from berth_server.core.policy import plan as core_plan
from berth_server.service.scheduling import apply

if TYPE_CHECKING:
    from berth_server.service.service import Service

# A queue up to this length is always planned with as a whole: about a millisecond.
_SHORT = 150
_HEAD = 64
# The order ages by the hour; it is made anew at least this often while jobs start.
_ORDER_S = 1.0


@dataclass
class Planner:
    """
    Makes the plans that are carried out.

    A whole plan orders every pending job, which with ten thousand takes as long as many starts.
    So its order is kept for a moment: plans in between look at the first of that order and at
    every job that changed since. What they leave free is offered to everybody soon after.
    """

    partial: bool = False
    """Whether the last plan left out some of the queue."""
    full_cost_s: float = 0.0
    """How long the last whole plan took."""
    _order: tuple[int, ...] = ()
    _made_at: float = float("-inf")
    _changed: set[int] = field(default_factory=set)
    _all_next: bool = False

    def changed(self, job_ids: Collection[int]) -> None:
        """These jobs changed: the kept order does not know where they belong."""
        self._changed.update(job_ids)

    def all_next_time(self) -> None:
        """Have the next plan look at the whole queue."""
        self._all_next = True

    def plan(self, service: Service, now: float) -> Plan:
        """A plan without expected starts."""
        settings = replace(service.options.policy, forecast_depth=0)
        queue = self._part_of(service, now)
        self.partial = queue is not None
        if queue is not None:
            return core_plan(apply.snapshot(service, now, queue), settings)
        began = time.perf_counter()
        plan = core_plan(apply.snapshot(service, now), settings)
        self.full_cost_s = time.perf_counter() - began
        self._order, self._made_at = plan.order, now
        self._changed.clear()
        self._all_next = False
        return plan

    def _part_of(self, service: Service, now: float) -> tuple[JobView, ...] | None:
        """The part of the queue to plan with; None for all of it."""
        pending = service.board.pending
        stale = not 0 <= now - self._made_at < _ORDER_S
        if len(pending) <= _SHORT or stale or self._all_next or len(self._changed) > _SHORT:
            return None
        head = islice((job_id for job_id in self._order if job_id in pending), _HEAD)
        chosen = dict.fromkeys(head) | dict.fromkeys(sorted(self._changed & pending.keys()))
        return tuple(pending[job_id] for job_id in chosen)
