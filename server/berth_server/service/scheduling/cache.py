"""
Cache of unfinished jobs and attempts, for the scheduler and the worker.

Refreshed from the rows of every job that a transaction touched, inside that transaction, so
that it never tells anything else than the database does; after a rollback likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from berth.protocol.internal import CommandBeside, DesiredAttempt, DesiredState
from berth.protocol.states import PENDING_STATES, JobState
from berth_server.core.estimate import Estimate
from berth_server.core.gpu_share import share_fraction
from berth_server.core.model import JobView, LeaseView, RunningView
from berth_server.service.scheduling.views import (
    desired_attempt,
    gpu_uuids_of,
    job_view,
    running_view,
)
from berth_server.store import ablations, attempts, gpus, jobs
from berth_server.store.database import Reader
from berth_server.store.records import AblationRecord, AttemptRecord, JobRecord

AttemptKey = tuple[int, int]


class SchedulerCache:
    """Pending jobs, unreleased attempts and what they hold."""

    def __init__(
        self,
        estimate: Callable[[JobRecord], Estimate | None],
        group: Callable[[str], str | None],
        archive: Callable[[str, int], Path],
    ) -> None:
        """
        `estimate` tells how long a job may run, `group` what group a user counts for, `archive`
        where frozen code lies, by digest and uid.
        """
        self._archive = archive
        self._estimate = estimate
        self._group = group
        self.pending: dict[int, JobView] = {}
        self.timed: dict[int, float] = {}
        """Start times of the waiting jobs that have one, by job; unix seconds."""
        self.held: set[int] = set()
        """Ids of the pending jobs that are held."""
        self.without_gpus: set[int] = set()
        """Pending jobs that need no GPU."""
        self.cells: dict[str, set[int]] = {}
        """Pending jobs by ablation."""
        self.ablations: dict[str, AblationRecord] = {}
        """The ablations in `cells`."""
        self.running: dict[AttemptKey, RunningView] = {}
        self.alive: dict[AttemptKey, AttemptRecord] = {}
        """Every unreleased attempt, ended or not."""
        self.leases: dict[str, LeaseView] = {}
        """Of whole GPUs, by GPU UUID."""
        self.shares: dict[str, tuple[LeaseView, ...]] = {}
        """Of shares of GPUs, by GPU UUID, in order of job."""
        self._gpu_bytes: dict[str, int] = {}
        """Memory of the GPUs that were seen, bytes by UUID."""
        self.released: dict[str, float] = {}
        """By GPU UUID and by attempt: when it was released (only since this start)."""
        self.desired: dict[AttemptKey, DesiredAttempt] = {}
        self.examining: dict[AttemptKey, int] = {}
        """Attempts whose processes are to be looked at, with the number of the look."""
        self.beside: dict[AttemptKey, tuple[CommandBeside, ...]] = {}
        """Commands to start beside running attempts."""
        self.version = 0
        """Increases with every change of anything here."""
        self.generation = 0
        """Increases with every change of `desired`."""

    def load(self, reader: Reader, now: float) -> None:
        """Read everything from the database, as at the start."""
        # Above every generation of an earlier start, so that none is taken for another.
        self.generation = int(now * 1000)
        self._put_pending(reader, jobs.pending(reader), now)
        records = attempts.unreleased(reader)
        owners = {job.id: job for job in jobs.by_ids(reader, {a.job_id for a in records})}
        for record in records:
            self._put(reader, record, owners[record.job_id])
        self.version += 1
        self.generation += 1

    def refresh(
        self,
        reader: Reader,
        touched: Collection[int],
        now: float,
        inserted: Mapping[int, JobRecord] | None = None,
    ) -> None:
        """Bring the views of these jobs up to date; rows in `inserted` need not be read."""
        if not touched:
            return
        self.version += 1
        if inserted:
            # New jobs have no attempt and no job depends on them yet.
            self._put_pending(reader, list(inserted.values()), now)
            touched = set(touched) - inserted.keys()
        records = jobs.by_ids(reader, touched)
        ids = [record.id for record in records]
        for job_id in touched:
            self._forget_cell(self.pending.pop(job_id, None))
            self.timed.pop(job_id, None)
            self.without_gpus.discard(job_id)
            self.held.discard(job_id)
        states = {state.value for state in PENDING_STATES}
        self._put_pending(reader, [r for r in records if r.state in states], now)
        self._read_ablations(reader, (record.ablation for record in records))
        before = {key: one for key, one in self.desired.items() if key[0] in touched}
        gone = [self.alive[key] for key in self.alive if key[0] in touched]
        for record in gone:
            self._drop(record)
        owners = {record.id: record for record in records}
        for record in attempts.unreleased_of(reader, ids):
            self._put(reader, record, owners[record.job_id])
        for record in gone:
            if (record.job_id, record.number) not in self.alive:
                self.released[record.id] = now
                self.released |= dict.fromkeys(gpu_uuids_of(record), now)
        after = {key: one for key, one in self.desired.items() if key[0] in touched}
        if before != after:
            self.generation += 1

    def examine(self, key: AttemptKey, number: int) -> None:
        """Ask the worker to look at the processes of an attempt; 0 asks for no look any more."""
        if number:
            self.examining[key] = number
        else:
            self.examining.pop(key, None)
        if key in self.desired:
            self.desired[key] = self.desired[key].model_copy(update={"examine": number})
            self.generation += 1

    def order_beside(self, key: AttemptKey, orders: tuple[CommandBeside, ...]) -> None:
        """Have the worker start commands beside a running attempt."""
        self.beside = {known: self.beside[known] for known in self.beside if known in self.alive}
        self.beside[key] = orders
        if key in self.desired:
            self.desired[key] = self.desired[key].model_copy(update={"beside": orders})
            self.generation += 1

    def desired_state(self) -> DesiredState:
        """Work that the worker should do now."""
        return DesiredState(generation=self.generation, attempts=tuple(self.desired.values()))

    def forget_releases(self, before: float) -> None:
        """Forget releases that a look at the GPUs after them has confirmed."""
        self.released = {key: at for key, at in self.released.items() if at >= before}

    def holders(self, uuid: str) -> tuple[LeaseView, ...]:
        """Every lease on a GPU: one of the whole GPU, or those of its shares."""
        lease = self.leases.get(uuid)
        return (lease,) if lease is not None else self.shares.get(uuid, ())

    def next_time(self) -> float | None:
        """The earliest of the times in `timed`."""
        return min(self.timed.values(), default=None)

    def pending_of(self, user: str) -> int:
        """Number of a user's pending jobs."""
        return sum(view.user == user for view in self.pending.values())

    def view(self, record: JobRecord, dependencies: Iterable[jobs.DependencyRecord]) -> JobView:
        """A pending job as the scheduler sees it, with what it depends on."""
        return job_view(record, dependencies, self._estimate(record), self._group(record.user))

    def _put_pending(self, reader: Reader, records: list[JobRecord], now: float) -> None:
        waiting = [record.id for record in records if record.state != JobState.QUEUED.value]
        dependencies = jobs.dependencies(reader, waiting)
        for record in records:
            self.pending[record.id] = self.view(record, dependencies.get(record.id, ()))
            if record.ablation is not None:
                self.cells.setdefault(record.ablation, set()).add(record.id)
            if not record.gpus:
                self.without_gpus.add(record.id)
            if record.state == JobState.HELD.value:
                self.held.add(record.id)
            at = record.not_before
            if at is not None and at > now and record.state == JobState.WAITING.value:
                self.timed[record.id] = at

        self._read_ablations(reader, (record.ablation for record in records))

    def _read_ablations(self, reader: Reader, ids: Iterable[str | None]) -> None:
        """Have the rows of those that pending jobs belong to as they are now."""
        wanted = {one for one in ids if one is not None and one in self.cells}
        if wanted:
            self.ablations |= {one.id: one for one in ablations.by_ids(reader, wanted)}

    def _forget_cell(self, view: JobView | None) -> None:
        if view is None or view.ablation is None:
            return
        cells = self.cells[view.ablation]
        cells.discard(view.id)
        if not cells:
            del self.cells[view.ablation]
            self.ablations.pop(view.ablation, None)

    def _drop(self, record: AttemptRecord) -> None:
        key = (record.job_id, record.number)
        for mapping in (self.alive, self.running, self.desired):
            mapping.pop(key, None)
        for uuid in gpu_uuids_of(record):
            whole = self.leases.get(uuid)
            if whole is not None and whole.attempt == record.id:
                del self.leases[uuid]
            left = tuple(s for s in self.shares.pop(uuid, ()) if s.attempt != record.id)
            if left:
                self.shares[uuid] = left

    def _put(self, reader: Reader, record: AttemptRecord, job: JobRecord) -> None:
        key = (record.job_id, record.number)
        memory = job.share_bytes
        self.alive[key] = record
        view = self.running[key] = running_view(
            record,
            job,
            self._estimate(job),
            self._group(job.user),
            self._part(reader, record, memory),
        )
        desired = desired_attempt(record, job, self._archive)
        if key in self.examining:
            desired = desired.model_copy(update={"examine": self.examining[key]})
        if key in self.beside:
            desired = desired.model_copy(update={"beside": self.beside[key]})
        self.desired[key] = desired
        lease = LeaseView(
            job_id=job.id,
            attempt=record.id,
            user=job.user,
            job_name=job.name,
            memory_bytes=memory,
        )
        for uuid in view.gpu_uuids:
            if memory is None:
                self.leases[uuid] = lease
            else:
                shares = (*self.shares.get(uuid, ()), lease)
                self.shares[uuid] = tuple(sorted(shares, key=lambda share: share.job_id))

    def _part(self, reader: Reader, record: AttemptRecord, memory: int | None) -> float:
        if memory is None:
            return 1.0
        uuid = gpu_uuids_of(record)[0]
        if uuid not in self._gpu_bytes:
            self._gpu_bytes = gpus.sizes(reader)
        return share_fraction(memory, self._gpu_bytes.get(uuid))
