"""A box of four GPUs under random users, worker, time and crashes, and what always holds there."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from berth.protocol.gpus import GpuProcess
from berth.protocol.jobs import JobPatch
from berth.protocol.reservations import ReservationRequest
from berth.protocol.states import Outcome
from berth_server.core.settings import PolicySettings
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Refused
from berth_server.service.gpus.drain import on_drain, on_undrain
from berth_server.service.gpus.reservations import on_reserve
from berth_server.service.jobs.cancel import on_cancel
from berth_server.service.jobs.hold import on_hold, on_release
from berth_server.service.jobs.patch import on_patch
from berth_server.service.jobs.retry import on_retry
from berth_server.service.scheduling.cache import SchedulerCache
from berth_server.service.scheduling.timers import next_due, on_due
from berth_server.store import events

ROOT = Caller(0, "root")
GPUS = 4
GIB = 1 << 30
FINAL = {"succeeded", "failed", "cancelled"}


class Histories(RuleBasedStateMachine):
    """A box of four GPUs, driven at random; every promise is looked at after every step."""

    open_desk: Any
    policy: PolicySettings | None = None

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.opened = type(self).open_desk(Path(self.folder.name), None, self.policy)
        self.desk = self.opened.__enter__()
        self.desk.worker.gpus = GPUS
        self.desk.worker.tell()
        self.ids: list[int] = []
        self.events_seen = 0
        self.ended: dict[str, tuple[Any, ...]] = {}

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.opened.__exit__(None, None, None)
            self.folder.cleanup()

    def pick(self, number: int) -> int:
        return self.ids[number % len(self.ids)]

    def alive(self, number: int) -> str | None:
        found = sorted(self.desk.server.cache.alive)
        if not found:
            return None
        job_id, attempt = found[number % len(found)]
        return f"{job_id}.{attempt}"

    @rule(
        gpus=st.integers(0, GPUS),
        priority=st.integers(-2, 2),
        retries=st.integers(0, 2),
        hold=st.booleans(),
        depends=st.lists(st.integers(0, 50), max_size=2),
        later=st.sampled_from([None, 5, 60]),
        preemptible=st.booleans(),
        share=st.sampled_from([None, None, "10GiB", "40GiB", "80GiB"]),
    )
    def submit(self, gpus, priority, retries, hold, depends, later, preemptible, share):
        when = None if later is None else self.desk.clock.now + later
        spec: dict[str, Any] = {"depends_on": [self.pick(n) for n in depends] if self.ids else []}
        if when is not None:
            spec["not_before"] = self.desk.clock.time().fromtimestamp(
                when, self.desk.clock.time().tzinfo
            )
        if share is not None:
            gpus, spec["share"], spec["gpu_memory"] = 1, True, share
        try:
            job_id = self.desk.submit(
                gpus=gpus,
                priority=priority,
                retries=retries,
                hold=hold,
                preemptible=preemptible,
                **spec,
            )
        except Refused:
            return
        assert not self.ids or job_id > self.ids[-1]
        self.ids.append(job_id)

    @rule(
        number=st.integers(0, 50), verb=st.sampled_from([on_cancel, on_hold, on_release, on_retry])
    )
    def act(self, number, verb):
        if self.ids:
            try:
                verb(self.desk.server, ROOT, self.pick(number))
            except Refused:
                return

    @rule(number=st.integers(0, 50), priority=st.integers(-2, 2))
    def patch(self, number, priority):
        if self.ids:
            try:
                on_patch(self.desk.server, ROOT, self.pick(number), JobPatch(priority=priority))
            except Refused:
                return

    @rule(number=st.integers(0, 9))
    def runs(self, number):
        attempt = self.alive(number)
        if attempt:
            self.desk.worker.running(attempt)

    @rule(
        number=st.integers(0, 9),
        code=st.sampled_from([0, 1]),
        clear=st.booleans(),
        outcome=st.sampled_from([None, Outcome.OOM_GPU, Outcome.LOST, Outcome.PREEMPTED]),
    )
    def ends(self, number, code, clear, outcome):
        attempt = self.alive(number)
        if attempt:
            self.desk.worker.ended(attempt, code, clear=clear, outcome=outcome)

    @rule(number=st.integers(0, 50), forged=st.booleans())
    def late_write(self, number, forged):
        """A report about an attempt that is over, or with a token that is not its own."""
        if not self.ids:
            return
        # Heard again after a silence, a worker lets jobs start whatever it says.
        self.desk.worker.tell()
        before = self.rows()
        attempt = f"{self.pick(number)}.1"
        job_id = int(attempt.partition(".")[0])
        if (job_id, 1) in self.desk.server.cache.alive and not forged:
            return
        token = "0" * 32 if forged or not self.desk.job(job_id).attempts else None
        self.desk.worker.ended(attempt, 1, token=token)
        self.desk.worker.running(attempt, token or self.desk.worker.token(attempt))
        assert self.rows() == before

    @rule(gpu=st.integers(0, GPUS - 1), there=st.booleans())
    def outsider(self, gpu, there):
        self.desk.worker.processes[gpu] = [GpuProcess(pid=99, user="bob")] if there else []
        self.desk.worker.tell()

    @rule(
        gpu=st.integers(0, GPUS - 1),
        verb=st.sampled_from(["drain", "undrain"]),
        lasts_s=st.sampled_from([None, 5.0, 20.0]),
    )
    def drain(self, gpu, verb, lasts_s):
        if verb == "drain":
            until = None if lasts_s is None else self.moment(lasts_s)
            on_drain(self.desk.server, ROOT, str(gpu), None, until)
        else:
            on_undrain(self.desk.server, ROOT, str(gpu))

    @rule(gpu=st.integers(0, GPUS - 1), lasts_s=st.sampled_from([5.0, 20.0]))
    def reserve(self, gpu, lasts_s):
        wish = ReservationRequest(gpus=[str(gpu)], users=["nobody"], ends_at=self.moment(lasts_s))
        try:
            on_reserve(self.desk.server, ROOT, wish)
        except Refused:  # already reserved for another user
            return

    def moment(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(self.desk.clock.now + seconds, UTC)

    @rule(seconds=st.sampled_from([1.0, 8.0, 30.0]), worker=st.booleans())
    def time_passes(self, seconds, worker):
        self.desk.clock.now += seconds
        if worker:
            self.desk.worker.tell()
        due = next_due(self.desk.server)
        if due is not None and due <= self.desk.clock.now:
            on_due(self.desk.server)

    @rule()
    def restart(self):
        """Kill -9 and a new start: what was committed is all there is."""
        clock, worker = self.desk.clock, self.desk.worker
        self.opened.__exit__(None, None, None)
        self.opened = type(self).open_desk(Path(self.folder.name), clock, self.policy)
        self.desk = self.opened.__enter__()
        self.desk.worker.gpus = GPUS
        self.desk.worker.processes = worker.processes
        self.desk.worker.tell()

    def rows(self) -> list[Any]:
        read = self.desk.server.db.read
        return [
            read.all(f"SELECT * FROM {table} ORDER BY 1, 2")
            for table in ("jobs", "attempts", "leases", "port_leases")
        ]

    @invariant()
    def the_promises_hold(self):
        if not hasattr(self, "desk"):
            return
        read = self.desk.server.db.read
        jobs = {
            row[0]: row[1:]
            for row in read.all("SELECT id, state, spec ->> 'gpus', attempts FROM jobs")
        }
        attempts = read.all("SELECT job_id, number, state, released_at, gpus, token FROM attempts")
        held: dict[tuple[int, int], int] = {}
        for job_id, number in read.all(
            "SELECT job_id, number FROM leases WHERE released_at IS NULL"
        ):
            held[job_id, number] = held.get((job_id, number), 0) + 1
        for whole, shares, leased in read.all(
            "SELECT sum(memory_bytes IS NULL), count(memory_bytes), sum(memory_bytes) FROM leases "
            "WHERE released_at IS NULL GROUP BY gpu_uuid"
        ):
            # One holder of the whole GPU, or shares that it has room for.
            assert (whole, shares) == (1, 0) or (whole == 0 and leased <= 80 * GIB)
        for job_id, number, state, released_at, _, _ in attempts:
            # A gang is all or nothing, from its attempt until its release.
            wanted = jobs[job_id][1] if released_at is None else 0
            assert held.get((job_id, number), 0) == wanted
            living = state != "ended"
            if living:
                assert jobs[job_id][0] in {"starting", "running", "stopping"}
                assert number == jobs[job_id][2]
        for state, _, _ in jobs.values():
            assert state not in {"starting", "running", "stopping"} or any(
                a[2] != "ended" for a in attempts
            )
        # The audit log only grows, and its last word on a job is the job's state.
        newest = events.last_id(self.desk.server.db.read)
        assert newest >= self.events_seen
        self.events_seen = newest
        shown = dict(
            read.all(
                "SELECT job_id, kind FROM events WHERE job_id IS NOT NULL AND kind NOT IN"
                " ('job.submitted', 'job.changed') ORDER BY id"
            )
        )
        for job_id, kind in shown.items():
            assert kind == f"job.{jobs[job_id][0]}"
        assert read.all("PRAGMA foreign_key_check") == []

    @invariant()
    def the_board_is_what_the_database_says(self):
        if not hasattr(self, "desk"):
            return
        cache, fresh = (
            self.desk.server.cache,
            SchedulerCache(
                lambda _: None, self.desk.server.groups.of, self.desk.server.options.freezer.path
            ),
        )
        fresh.load(self.desk.server.db.read, self.desk.clock.now)
        # Estimates are those of the moment at which a job was last touched.
        for ours, theirs in ((cache.pending, fresh.pending), (cache.running, fresh.running)):
            assert {k: replace(view, estimate=None) for k, view in ours.items()} == theirs
        assert cache.leases == fresh.leases
        assert cache.shares == fresh.shares
        assert cache.desired == fresh.desired
        assert {k: v for k, v in cache.timed.items() if v > self.desk.clock.now} == fresh.timed

    @invariant()
    def no_gpu_is_idle_while_the_next_job_could_use_it(self):
        if not hasattr(self, "desk"):
            return
        desk = self.desk
        if not desk.server.worker_state.fresh(desk.clock.now, 10.0):
            return
        blocked = {gpu for gpu, seen in desk.worker.processes.items() if seen}
        blocked |= {int(uuid[4:]) for uuid in desk.server.drains}
        blocked |= {int(uuid[4:]) for kept in desk.server.reservations for uuid in kept.gpus}
        free = GPUS - len(blocked | {int(uuid[4:]) for uuid in desk.held()})
        queued = desk.server.db.read.all(
            "SELECT spec ->> 'gpus' FROM jobs WHERE state = 'queued' "
            "ORDER BY spec ->> 'priority' DESC, id"
        )
        assert not queued or queued[0][0] > free
