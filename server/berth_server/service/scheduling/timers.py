"""Timed work: start times, ends of drains and reservations, deferred plans."""

from __future__ import annotations

from berth.protocol.states import JobState
from berth_server.service.gpus.drain import on_drains_over
from berth_server.service.gpus.reservations import on_reservations_over
from berth_server.service.jobs.dependents import requeue_if_ready
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events, idempotency, jobs, tokens

_KEEP_KEYS_S = 7 * 86400.0


def on_due(server: ServerState) -> None:
    """End drains and reservations that are over, queue jobs whose start time has come, plan."""
    now = server.clock()
    on_drains_over(server)
    on_reservations_over(server)
    server.wake_at = None
    due = [job_id for job_id, at in server.cache.timed.items() if at <= now]
    with change(server) as tx:
        for job_id in due:
            record = jobs.get(tx, job_id)
            if record is not None:
                requeue_if_ready(tx, record)
                # One that still waits for a job has its time behind it.
                tx.touched.add(job_id)


def next_due(server: ServerState) -> float | None:
    """Time of the next call of `on_due`, unix seconds; None while nothing is due."""
    times = [
        server.cache.next_time(),
        server.wake_at,
        *(drain.until for drain in server.drains.values()),
        *(reservation.ends_at for reservation in server.reservations),
    ]
    return min((at for at in times if at is not None), default=None)


def on_worker_silent(server: ServerState) -> None:
    """The worker has not reported for too long: nothing starts until it does."""
    seconds = f"{server.options.stale_after_s:g}"
    with change(server) as tx:
        events.write(
            tx,
            "worker.lost",
            f"The worker has not reported for {seconds} seconds; nothing starts until it does.",
        )


def on_start(server: ServerState, version: str, highest_id: int = 0) -> None:
    """
    Start up: write the event, do what became due while the server was down, drop old rows.

    `highest_id` is the highest of a job that has a run directory: a database that was put back
    from a copy does not give out the ids again that it had given since.
    """
    # No submit is under way yet: an archive without a job belongs to one that was refused.
    server.options.freezer.sweep(server.db.read)
    on_drains_over(server)
    on_reservations_over(server)
    with change(server, durable=False) as tx:
        events.write(tx, "server.started", f"The server of Berth {version} is up.")
        jobs.go_on_after(tx, highest_id)
        idempotency.forget(tx, tx.now - _KEEP_KEYS_S)
        tokens.forget_expired(tx)
        for view in list(server.cache.pending.values()):
            if view.state is JobState.WAITING:
                record = jobs.get(tx, view.id)
                assert record is not None
                requeue_if_ready(tx, record)
