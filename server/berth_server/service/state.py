"""State of the running queue: the database, what is cached of it, and who listens to changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from berth.protocol.internal import Examination
from berth.protocol.message import Message
from berth_server.core.model import Plan, Snapshot
from berth_server.core.progress.idleness import IdlePolicy
from berth_server.core.settings import PolicySettings
from berth_server.service.attempts.ports import Ports
from berth_server.service.gpus.use import Rates, UseMeter
from berth_server.service.gpus.worker_state import WorkerState
from berth_server.service.jobs.freeze_code import Freezer
from berth_server.service.notifier import Notifier
from berth_server.service.progress.beliefs import Beliefs
from berth_server.service.scheduling.cache import SchedulerCache
from berth_server.service.scheduling.groups import Groups
from berth_server.service.scheduling.run_history import RunHistory
from berth_server.service.scheduling.usage import UsageAccounts
from berth_server.store import gpus, reservations
from berth_server.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings that the rules depend on."""

    home: Path
    first_port: int = 29600
    last_port: int = 29999
    stale_after_s: float = 10.0
    """Without a report of the worker for so long nothing is started."""
    allow_other_users: bool = False
    """True if a server that is not root takes jobs of other users, to run as its own."""
    snapshot_most_bytes: int = 512 << 20
    """Most frozen code that is copied for one job."""
    notify_schemas: frozenset[str] = frozenset()
    """Kinds of addresses that notices may go to, beside web addresses."""
    policy: PolicySettings = field(default_factory=PolicySettings)
    idle: IdlePolicy = field(default_factory=IdlePolicy)
    rates: Rates = field(default_factory=Rates)

    @property
    def runs(self) -> Path:
        """Folder of the run directories."""
        return self.home / "runs"

    @property
    def freezer(self) -> Freezer:
        """The freezer of code snapshots."""
        return Freezer(self.home / "snapshots", self.snapshot_most_bytes)


@dataclass(slots=True, frozen=True)
class Forecast:
    """A plan with expected starts, made for readers, and what it was made of."""

    key: tuple[int, float | None]
    snapshot: Snapshot
    plan: Plan
    made_at: float
    cost_s: float


class ServerState:
    """
    State of one box's queue. Lives on one thread; nothing that works on it awaits.

    It has no rules: `transaction.change` changes it, `scheduling` plans with it.
    """

    def __init__(
        self, db: Database, options: Options, clock: Callable[[], float] = time.time
    ) -> None:
        """Load the queue from the database. `clock` returns unix seconds."""
        self.db = db
        self.options = options
        self.clock = clock
        self.run_history = RunHistory(db.read)
        self.usage = UsageAccounts(options.policy, db.read, clock())
        self.groups = Groups(options.policy)
        self.cache = SchedulerCache(self.run_history.estimate, self.groups.of, options.freezer.path)
        self.worker_state = WorkerState()
        self.progress = Beliefs()
        self.use = UseMeter(db.read)
        self.alerts: dict[tuple[int, int], dict[str, Message]] = {}
        """By running attempt: what is wrong with it, by kind."""
        self.examinations: dict[tuple[int, int], Examination] = {}
        """By attempt: the last look at its processes that was asked for."""
        self.ports = Ports(options.first_port, options.last_port)
        self.known_gpus = gpus.known(db.read)
        self.drains = gpus.drains(db.read)
        self.reservations = reservations.all_of(db.read)
        self.on_event = Notifier()
        """Events were written."""
        self.on_desired = Notifier()
        """The desired state changed."""
        self.on_due = Notifier()
        """The time of the next timer may have changed."""
        self.wake_at: float | None = None
        """Time of the next plan even if nothing happens; unix seconds."""
        self.findings: frozenset[tuple[str, str, int]] = frozenset()
        """Findings of the last report; see `gpus.findings`."""
        self.planned_at = float("-inf")
        """Time of the last plan; unix seconds."""
        self.plan_cost_s = 0.0
        """CPU time of a plan, a moving mean."""
        self.plans = 0
        """Number of plans that were carried out."""
        self.forecast: Forecast | None = None
        self.cache.load(db.read, clock())
