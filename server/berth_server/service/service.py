"""The service: what every rule works on, and the transaction around each change."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import structlog

from berth_server.core.model import Plan, Snapshot
from berth_server.core.settings import PolicySettings
from berth_server.service.attempts.ports import Ports
from berth_server.service.gpus.worker_state import Sight
from berth_server.service.jobs.freeze_code import Freezer
from berth_server.service.notifier import Signal
from berth_server.service.scheduling import apply
from berth_server.service.scheduling.cache import Board
from berth_server.service.scheduling.groups import Groups
from berth_server.service.scheduling.planner import Planner
from berth_server.service.scheduling.run_history import Past
from berth_server.store import events, gpus, reservations
from berth_server.store.database import Database, Transaction

log = structlog.get_logger()
Planning = Literal["now", "soon", "never"]
# A plan that took longer than this is not made inside each submit, but once for many.
_DEAR_PLAN_S = 0.004
_LONG_QUEUE = 500
_FORECAST_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the rules need to know of the settings."""

    home: Path
    first_port: int = 29600
    last_port: int = 29999
    stale_after_s: float = 10.0
    """Without a report of the worker for so long nothing is started."""
    allow_other_users: bool = False
    """Whether a server that is not root takes jobs of other users, to run as its own."""
    snapshot_most_bytes: int = 512 << 20
    """How much frozen code may be copied for one job."""
    policy: PolicySettings = field(default_factory=PolicySettings)

    @property
    def runs(self) -> Path:
        """Folder of the run directories."""
        return self.home / "runs"

    @property
    def freezer(self) -> Freezer:
        """What freezes code."""
        return Freezer(self.home / "snapshots", self.snapshot_most_bytes)


@dataclass(slots=True, frozen=True)
class _Forecast:
    """A plan made for those who look, and what it was made of."""

    key: tuple[int, float | None]
    snapshot: Snapshot
    plan: Plan
    made_at: float
    cost_s: float


def _limits_pending(policy: PolicySettings) -> bool:
    every = (
        policy.user_limits,
        policy.group_limits,
        *policy.limits_by_user.values(),
        *policy.limits_by_group.values(),
        *(rule.limits for rule in policy.calendar),
    )
    return any(limits.queued_jobs is not None for limits in every)


class Service:
    """One box's queue. Lives on one thread; nothing here awaits."""

    def __init__(
        self, db: Database, options: Options, clock: Callable[[], float] = time.time
    ) -> None:
        """Take up the queue as the database has it. `clock` tells unix seconds."""
        self.db = db
        self.options = options
        self.clock = clock
        self.past = Past(options.policy)
        self.past.load(db.read, clock())
        self.groups = Groups(options.policy)
        self.board = Board(self.past.estimate, self.groups.of, options.freezer.path)
        self.sight = Sight()
        self.ports = Ports(options.first_port, options.last_port)
        self.known_gpus = gpus.known(db.read)
        self.drains = gpus.drains(db.read)
        self.reservations = reservations.all_of(db.read)
        self.on_event = Signal()
        """Events were written."""
        self.on_desired = Signal()
        """The desired state changed."""
        self.on_due = Signal()
        """`wake_at` may have moved."""
        self.wake_at: float | None = None
        """When a plan has to be made even if nothing happens; unix seconds."""
        self.audited: frozenset[tuple[str, str, int]] = frozenset()
        """What the last look at the GPUs found; see `audit`."""
        self.planner = Planner()
        self.plan_cost_s = 0.0
        """How long the last plan took, a moving mean."""
        self.passes = 0
        self._forecast: _Forecast | None = None
        self.limits_pending = _limits_pending(options.policy)
        """Whether anybody may have only so many pending jobs."""
        self.board.load(db.read, clock())

    @contextlib.contextmanager
    def change(
        self, actor: str = "system", *, durable: bool = True, plan: Planning = "soon"
    ) -> Generator[Transaction]:
        """
        One change by one actor: its rows, its events and what the scheduler makes of it are
        one transaction. When this returns it is on disk and everybody concerned was told.

        `plan="now"` plans within it. `"soon"` does so too unless plans have become dear (a long
        queue before free GPUs): then one plan is made for all that arrives within a moment.
        `"never"` is for changes that cannot start anything.
        """
        if plan != "never":
            self.ports.top_up(self._leased_ports())
        tx: Transaction | None = None
        generation, next_time = self.board.generation, self.board.next_time()
        try:
            with self.db.write(now=self.clock(), actor=actor, durable=durable) as tx:
                yield tx
                self.board.refresh(tx, tx.touched, tx.now, tx.inserted)
                self.planner.changed(tx.touched)
                tx.inserted.clear()
                if plan != "never" and apply.could_start(self, tx.now):
                    if plan == "soon" and self._plans_are_dear():
                        self._wake(tx.now + 4 * self.plan_cost_s)
                    else:
                        self._plan(tx)
        except BaseException:
            if tx is not None:
                self.board.refresh(self.db.read, tx.touched, tx.now)
            raise
        if self.board.generation != generation:
            self.on_desired.send()
        if self.board.next_time() != next_time:
            self.on_due.send()
        if tx.events:
            self.on_event.send()

    def plan_now(self) -> None:
        """Plan, and carry it out, if anything could start."""
        if apply.could_start(self, self.clock()):
            with self.change(plan="now"):
                pass

    def forecast(self, *, fresh: bool = False) -> tuple[Snapshot, Plan]:
        """
        The present snapshot and plan with expected starts, for those who only look.

        At most a second old; where plans are dear, not from after the very last change either,
        unless `fresh`.
        """
        now = self.clock()
        known = self._forecast
        if known is not None and 0 <= now - known.made_at < _FORECAST_S:
            same = (self.board.version, self.sight.reported_at) == known.key
            dear = len(self.board.pending) > _LONG_QUEUE and known.cost_s > _DEAR_PLAN_S
            dear = dear and now - known.made_at < 20 * known.cost_s
            if same or (dear and not fresh):
                return known.snapshot, known.plan
        key = (self.board.version, self.sight.reported_at)
        began = time.perf_counter()
        snapshot, plan = apply.make_plan(self, now, forecast=True)
        cost_s = time.perf_counter() - began
        self._forecast = _Forecast(key, snapshot, plan, now, cost_s)
        return snapshot, plan

    def last_event_id(self) -> int:
        """Id of the newest event; 0 before the first."""
        return events.last_id(self.db.read)

    def _plans_are_dear(self) -> bool:
        # By both: a slow moment of the machine alone must not delay a job on an idle box.
        return len(self.board.pending) > _LONG_QUEUE and self.plan_cost_s > _DEAR_PLAN_S

    def _leased_ports(self) -> set[int]:
        return {a.master_port for a in self.board.alive.values() if a.master_port is not None}

    def _plan(self, tx: Transaction) -> None:
        """
        Plan and carry it out within the transaction.

        A fault in here is logged and starts nothing; the change itself stands. Otherwise one
        job that the scheduler stumbles over would keep everybody from submitting and ending.
        """
        began = time.perf_counter()
        tx.execute("SAVEPOINT plan")
        before = set(tx.touched), tx.events
        try:
            plan = self.planner.plan(self, tx.now)
            if apply.apply(self, tx, plan) or plan.preemptions:
                self.board.refresh(tx, tx.touched, tx.now)
        except Exception:
            log.exception("plan.failed")
            tx.execute("ROLLBACK TO plan")
            self.board.refresh(tx, tx.touched, tx.now)
            tx.touched, tx.events = before
            return
        finally:
            tx.execute("RELEASE plan")
        self.passes += 1
        cost_s = time.perf_counter() - began
        self.plan_cost_s = 0.7 * self.plan_cost_s + 0.3 * cost_s
        wake_at = plan.wake_at.timestamp() if plan.wake_at else None
        if self.planner.partial and apply.could_start(self, tx.now):
            # Somebody further back may fit into what is left: all of them get their turn soon.
            soon = tx.now + max(4 * self.planner.full_cost_s, 0.005)
            wake_at = soon if wake_at is None else min(soon, wake_at)
        self._wake(wake_at)

    def _wake(self, at: float | None) -> None:
        if at != self.wake_at:
            self.wake_at = at
            self.on_due.send()
