"""What happens because its time has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.protocol.states import JobState
from berth_server.service.dependents import requeue_if_ready
from berth_server.store import events, idempotency, jobs

if TYPE_CHECKING:
    from berth_server.service.service import Service

_KEEP_KEYS_S = 7 * 86400.0


def on_due(service: Service) -> None:
    """Queue the jobs whose start time has come, then plan."""
    now = service.clock()
    due = [
        view.id
        for view in service.board.pending.values()
        if view.state is JobState.WAITING
        and view.not_before is not None
        and view.not_before.timestamp() <= now
    ]
    with service.change(plan="now") as tx:
        for job_id in due:
            record = jobs.get(tx, job_id)
            if record is not None and record.state == JobState.WAITING.value:
                requeue_if_ready(tx, record)


def next_due(service: Service) -> float | None:
    """When `on_due` has to be called next, unix seconds; None while nothing is due."""
    times = [
        view.not_before.timestamp()
        for view in service.board.pending.values()
        if view.state is JobState.WAITING and view.not_before is not None
    ]
    if service.wake_at is not None:
        times.append(service.wake_at)
    return min(times, default=None)


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
    """The server is up: say so, and forget idempotency keys older than a week."""
    with service.change(durable=False, plan="never") as tx:
        events.write(tx, "server.started", f"The server of Berth {version} is up.")
        idempotency.forget(tx, tx.now - _KEEP_KEYS_S)
