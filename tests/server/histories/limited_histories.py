"""Random histories under limits: a calendar, ablations with caps, reservations, jumping clocks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from tests.server.histories.server_histories import FINAL, GIB, GPUS, ROOT, Histories

from berth.protocol.ablations import AblationCell, AblationPatch, AblationSpec, EarlyStop
from berth.protocol.reservations import ReservationRequest
from berth.protocol.specs import JobSpec
from berth_server.core.early_stopping import Stop
from berth_server.core.explain.explanation import explain
from berth_server.core.policy import plan
from berth_server.core.settings import CalendarRule, Limits, PolicySettings
from berth_server.service.ablations.ablate import on_ablation, on_change, wanted
from berth_server.service.ablations.early_stopping import EarlyStops, on_early_stop
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Refused
from berth_server.service.gpus.drain import on_undrain
from berth_server.service.gpus.reservations import on_reserve, on_unreserve
from berth_server.service.jobs import check
from berth_server.service.jobs.hold import on_release
from berth_server.service.scheduling.snapshot import snapshot
from berth_server.service.scheduling.timers import on_due
from berth_server.service.transaction import change

ADA, BOB = Caller(1, "daemon"), Caller(2, "bin")
CALLERS = (ADA, BOB)
EVERY_DAY = frozenset(range(7))
ASSUMED = timedelta(hours=24)
POLICY = PolicySettings(
    age_cap=timedelta(hours=6),
    assumed_length=ASSUMED,
    user_limits=Limits(running_gpus=2, running_jobs=3),
    calendar=(
        CalendarRule(
            name="nights",
            weekdays=EVERY_DAY,
            starts=time(22),
            ends=time(7),
            limits=Limits(running_gpus=4, running_jobs=5),
        ),
        CalendarRule(
            name="class",
            weekdays=EVERY_DAY,
            starts=time(13),
            ends=time(15),
            limits=Limits(running_gpus=1),
            users=frozenset({"bin"}),
        ),
    ),
)
STUDIES = ("one", "two")


def allowed(user: str, now: datetime) -> tuple[float, int]:
    """GPUs and jobs that a user may run at this hour, as `POLICY` is meant."""
    if now.hour >= 22 or now.hour < 7:
        return 4.0, 5
    if user == "bin" and now.hour in {13, 14}:
        return 1.0, 3
    return 2.0, 3


class LimitedHistories(Histories):
    """The same box with `POLICY` in force."""

    policy = POLICY

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.known: set[tuple[int, int]] = set()

    @rule(
        user=st.integers(0, 1),
        gpus=st.sampled_from([0, 1, 1, 2, 4]),
        share=st.sampled_from([None, None, 20, 50]),
        hours=st.sampled_from([None, 1, 5]),
        priority=st.integers(-1, 2),
        preemptible=st.booleans(),
    )
    def submit_for(self, user, gpus, share, hours, priority, preemptible):
        spec: dict[str, Any] = {} if hours is None else {"time_limit": timedelta(hours=hours)}
        if share is not None:
            gpus, spec["share"], spec["gpu_memory"] = 1, True, f"{share}GiB"
        job_id = self.desk.submit(
            CALLERS[user], gpus=gpus, priority=priority, preemptible=preemptible, **spec
        )
        self.ids.append(job_id)

    @rule(
        study=st.sampled_from(STUDIES),
        values=st.sets(st.integers(0, 9), min_size=1, max_size=3),
        gpus=st.integers(0, 2),
        running=st.sampled_from([None, 1, 2]),
        hours=st.sampled_from([None, 0.5, 3.0]),
        stops=st.booleans(),
    )
    def ablate(self, study, values, gpus, running, hours, stops):
        rule_ = EarlyStop(rule="target", metric="loss", target=1.0) if stops else None
        job = JobSpec(command=["true"], workdir="/", gpus=gpus)
        spec = AblationSpec(
            name=study,
            cells=[AblationCell(values={"seed": str(n)}, job=job) for n in sorted(values)],
            max_running=running,
            max_gpu_hours=hours,
            early_stop=rule_,
            add=bool(
                self.desk.server.db.read.value(
                    "SELECT count(*) FROM ablations WHERE id = ?", (study,)
                )
            ),
        )
        try:
            prepared = [
                check.check_spec(one, ADA) for one in wanted(self.desk.server, ADA, spec).specs
            ]
            made = on_ablation(self.desk.server, ADA, spec, prepared) if prepared else None
        except Refused:
            return
        self.ids += list(made.ids) if made else []

    @rule(study=st.sampled_from(STUDIES), running=st.sampled_from([None, 1, 3]))
    def other_caps(self, study, running):
        try:
            on_change(self.desk.server, ROOT, study, AblationPatch(max_running=running))
        except Refused:
            return

    @rule(number=st.integers(0, 9))
    def stops_early(self, number):
        for one in EarlyStops().watched(self.desk.server):
            candidates = sorted(one.stoppable)
            if candidates:
                ended = candidates[number % len(candidates)]
                ends = {ended: Stop(one.rule, 1.0, job_id=ended, runs=3, step=1.0, best=2.0)}
                on_early_stop(self.desk.server, one, ends)

    @rule(
        cards=st.sets(st.integers(0, GPUS - 1), min_size=1),
        begins_h=st.sampled_from([0, 1, 6]),
        lasts_h=st.sampled_from([1, 8]),
        user=st.integers(0, 1),
    )
    def reserve_ahead(self, cards, begins_h, lasts_h, user):
        wish = ReservationRequest(
            gpus=[str(card) for card in sorted(cards)],
            users=[CALLERS[user].user],
            starts_at=self.moment(begins_h * 3600.0 + 1.0),
            ends_at=self.moment((begins_h + lasts_h) * 3600.0 + 1.0),
        )
        try:
            on_reserve(self.desk.server, ROOT, wish)
        except Refused:
            return

    @rule(number=st.integers(0, 9))
    def unreserve(self, number):
        kept = self.desk.server.reservations
        if kept:
            on_unreserve(self.desk.server, ROOT, kept[number % len(kept)].id)

    @rule(seconds=st.sampled_from([-1.0, 0.0, 1.0]))
    def the_clock_jumps_over_an_edge(self, seconds):
        now = self.now()
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        edges = (day + timedelta(hours=hour) for hour in (7, 13, 15, 22, 24 + 7))
        at = next(edge for edge in edges if edge > now + timedelta(seconds=1))
        self.time_passes(at.timestamp() + seconds - now.timestamp(), worker=True)

    @rule(seconds=st.sampled_from([1.0, 3600.0]))
    def the_clock_is_set_back(self, seconds):
        self.time_passes(-seconds, worker=True)

    @rule()
    def plan_again(self):
        """Each job's explanation is what the scheduler does next; asked twice, it is the same."""
        server = self.desk.server
        self.desk.worker.tell()
        seen = snapshot(server, self.desk.clock.now)
        made = plan(seen, POLICY)
        assert plan(seen, POLICY) == made
        free = {
            job.id
            for job in seen.queue
            if not any(reason.blocking for reason in explain(seen, made, job.id).reasons)
        }
        before = self.attempts()
        with change(server):
            pass
        assert {job_id for job_id, _ in self.attempts() - before} == free == set(made.started)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.desk.clock.now, UTC)

    def attempts(self) -> set[tuple[int, int]]:
        return set(self.desk.server.db.read.all("SELECT job_id, number FROM attempts"))

    def no_gpu_is_idle_while_the_next_job_could_use_it(self):
        """Not said here: limits leave GPUs idle."""

    @invariant()
    def no_job_started_that_may_not(self):
        if not hasattr(self, "desk"):
            return
        started = self.attempts() - self.known
        self.known |= started
        for job_id, number in sorted(started):
            self.look_at_start(job_id, number)

    def look_at_start(self, job_id: int, number: int) -> None:
        """Counted again from the rows: limits, caps, reservations, dependencies, times."""
        read, now = self.desk.server.db.read, self.desk.clock.now
        job = self.desk.job(job_id)
        not_before = job.spec.not_before
        assert not_before is None or not_before.timestamp() <= now
        needs = (
            "SELECT d.kind, j.state FROM dependencies d JOIN jobs j ON j.id = d.depends_on"
            " WHERE d.job_id = ?"
        )
        for kind, state in read.all(needs, (job_id,)):
            succeeded, ended = state == "succeeded", state in {"succeeded", "failed", "cancelled"}
            assert {"afterok": succeeded, "afterany": ended, "afternotok": ended and not succeeded}[
                kind
            ]
        assert job.resumes_at is None or job.resumes_at <= now
        held = (
            "SELECT a.job_id, (SELECT coalesce(sum(coalesce(l.memory_bytes * 1.0 / ?, 1)), 0)"
            " FROM leases l WHERE l.job_id = a.job_id AND l.number = a.number)"
            " FROM attempts a JOIN jobs j ON j.id = a.job_id"
            " WHERE a.released_at IS NULL AND j.user = ?"
        )
        mine = dict(read.all(held, (80 * GIB, job.user)))
        gpus, jobs = allowed(job.user, self.now())
        assert len(mine) <= jobs
        assert not job.gpus or sum(mine.values()) <= gpus + 1e-6
        self.look_at_caps(job_id)
        bound_s = (job.spec.time_limit or ASSUMED).total_seconds()
        row = read.value(
            "SELECT gpus FROM attempts WHERE job_id = ? AND number = ?", (job_id, number)
        )
        for uuid, _, _ in json.loads(row):
            assert uuid not in self.desk.server.drains
            for kept in self.desk.server.reservations:
                if uuid in kept.gpus and job.user not in kept.users and kept.ends_at > now:
                    assert kept.starts_at >= now + bound_s

    def look_at_caps(self, job_id: int) -> None:
        read, now = self.desk.server.db.read, self.desk.clock.now
        caps = read.all(
            "SELECT a.id, a.max_running, a.max_gpu_hours, j.spec ->> 'gpus' FROM ablations a"
            " JOIN jobs j ON j.ablation = a.id WHERE j.id = ?",
            (job_id,),
        )
        for study, running, hours, gpus in caps:
            spans = read.all(
                "SELECT a.created_at, a.released_at, (SELECT count(*) FROM leases l"
                " WHERE l.job_id = a.job_id AND l.number = a.number)"
                " FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.ablation = ?",
                (study,),
            )
            assert running is None or sum(end is None for _, end, _ in spans) <= running
            used_s = sum(max(0.0, (end or now) - begin) * count for begin, end, count in spans)
            assert hours is None or not gpus or used_s < hours * 3600.0

    def teardown(self) -> None:
        """Every job reaches an end once nothing is wrong with the box and no job is held any more."""
        if hasattr(self, "desk"):
            self.let_all_end()
        super().teardown()

    def let_all_end(self) -> None:
        server, worker = self.desk.server, self.desk.worker
        worker.processes.clear()
        worker.tell()
        for uuid in list(server.drains):
            on_undrain(server, ROOT, uuid)
        for kept in list(server.reservations):
            on_unreserve(server, ROOT, kept.id)
        for study in STUDIES:
            if server.db.read.value("SELECT count(*) FROM ablations WHERE id = ?", (study,)):
                on_change(server, ROOT, study, AblationPatch(max_running=None, max_gpu_hours=None))
        for (job_id,) in server.db.read.all("SELECT id FROM jobs WHERE state = 'held'"):
            on_release(server, ROOT, job_id)
        # Some may start at night only.
        for _ in range(24 + 3 * len(self.ids)):
            for job_id, number in sorted(server.cache.alive):
                worker.ended(f"{job_id}.{number}", 0)
            if not server.cache.pending and not server.cache.alive:
                break
            self.desk.clock.now += 3600.0
            worker.tell()
            on_due(server)
        left = [
            i for i, state in server.db.read.all("SELECT id, state FROM jobs") if state not in FINAL
        ]
        assert not left, [self.desk.explain(job_id) for job_id in left]
