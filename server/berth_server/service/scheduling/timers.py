"""What happens because its time has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.protocol.states import JobState
from berth_server.service.gpus.drain import on_drains_over
from berth_server.service.gpus.reservations import on_reservations_over
from berth_server.service.jobs.dependents import requeue_if_ready
from berth_server.store import events, idempotency, jobs, tokens

if TYPE_CHECKING:
    from berth_server.service.service import Service

_KEEP_KEYS_S = 7 * 86400.0


def on_due(service: Service) -> None:
    """End drains and reservations that are over, queue jobs whose start time has come, plan."""
    now = service.clock()
    on_drains_over(service)
    on_reservations_over(service)
    service.wake_at = None
    service.planner.all_next_time()
    due = [job_id for job_id, at in service.board.timed.items() if at <= now]
    with service.change(plan="now") as tx:
        for job_id in due:
            record = jobs.get(tx, job_id)
            if record is not None:
                requeue_if_ready(tx, record)
                # One that still waits for a job has its time behind it.
                tx.touched.add(job_id)


def next_due(service: Service) -> float | None:
    """When `on_due` has to be called next, unix seconds; None while nothing is due."""
    times = [
        service.board.next_time(),
        service.wake_at,
        *(drain.until for drain in service.drains.values()),
        *(reservation.ends_at for reservation in service.reservations),
    ]
    return min((at for at in times if at is not None), default=None)


def on_worker_silent(service: Service) -> None:
    """The worker has not reported for too long: nothing starts until it does."""
    seconds = f"{service.options.stale_after_s:g}"
    with service.change(plan="never") as tx:
        events.write(
            tx,
            "worker.lost",
            f"The worker has not reported for {seconds} seconds; nothing starts until it does.",
        )


def on_start(service: Service, version: str) -> None:
    """The server is up: say so, do what became due meanwhile, forget what is too old."""
    # No submit is under way yet: an archive without a job belongs to one that was refused.
    service.options.freezer.sweep(service.db.read)
    on_drains_over(service)
    on_reservations_over(service)
    with service.change(durable=False, plan="never") as tx:
        events.write(tx, "server.started", f"The server of Berth {version} is up.")
        idempotency.forget(tx, tx.now - _KEEP_KEYS_S)
        tokens.forget_expired(tx)
        for view in list(service.board.pending.values()):
            if view.state is JobState.WAITING:
                record = jobs.get(tx, view.id)
                assert record is not None
                requeue_if_ready(tx, record)
