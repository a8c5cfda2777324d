"""Planning: a whole plan within each change, or one for many changes while plans are costly."""

from __future__ import annotations

import time

import structlog

from berth_server.core.forecast import plan_with_forecast
from berth_server.core.model import Plan, Snapshot
from berth_server.core.policy import plan as core_plan
from berth_server.service.scheduling.apply import apply
from berth_server.service.scheduling.snapshot import snapshot
from berth_server.service.state import Forecast, ServerState
from berth_server.store.database import Transaction

log = structlog.get_logger()
# After a plan that took longer than this the next one waits, so that planning never takes
# more than about a fifth of the server's time.
_COSTLY_S = 0.004
_PAUSE = 4
_FORECAST_S = 1.0
# A forecast that took longer than this serves readers for twenty times as long.
_COSTLY_FORECAST_S = 0.02


def could_start(server: ServerState, now: float) -> bool:
    """Return whether a plan could start anything: saves planning while all is held or the box full."""
    cache = server.cache
    if len(cache.pending) == len(cache.held) or not server.worker_state.fresh(
        now, server.options.stale_after_s
    ):
        return False
    if cache.without_gpus or any(uuid not in cache.leases for uuid in server.worker_state.by_uuid):
        return True
    # On a full box a running attempt may have to make room.
    return any(run.preemptible and not run.stopping for run in cache.running.values())


def plan_within(server: ServerState, tx: Transaction) -> None:
    """
    Plan within a transaction and carry the plan out, unless nothing could start.

    A plan that cost more than 4 ms of CPU time is followed by a pause of four times its cost:
    changes in that time share the plan made at its end, which `wake_at` announces.

    A fault in here is logged and starts nothing; the change itself stands. Otherwise one job
    that the scheduler fails on would keep every user from submitting and every job from ending.
    """
    if not could_start(server, tx.now):
        return
    pause_s = _PAUSE * server.plan_cost_s if server.plan_cost_s > _COSTLY_S else 0.0
    if 0 <= tx.now - server.planned_at < pause_s:
        _wake(server, server.planned_at + pause_s)
        return
    tx.execute("SAVEPOINT plan")
    before = set(tx.touched), tx.events
    try:
        began = time.thread_time()
        plan = core_plan(snapshot(server, tx.now), server.options.policy)
        cost_s = time.thread_time() - began
        if apply(server, tx, plan) or plan.preemptions:
            server.cache.refresh(tx, tx.touched, tx.now)
    except Exception:
        log.exception("plan.failed")
        tx.execute("ROLLBACK TO plan")
        server.cache.refresh(tx, tx.touched, tx.now)
        tx.touched, tx.events = before
        return
    finally:
        tx.execute("RELEASE plan")
    server.planned_at = tx.now
    server.plans += 1
    server.plan_cost_s = 0.7 * server.plan_cost_s + 0.3 * cost_s
    _wake(server, plan.wake_at.timestamp() if plan.wake_at else None)


def latest_forecast(server: ServerState, *, fresh: bool = False) -> tuple[Snapshot, Plan]:
    """
    Return the present snapshot and plan with expected starts, for readers.

    At most a second old; where forecasts are costly it may also miss the very last changes,
    unless `fresh`.
    """
    now = server.clock()
    known = server.forecast
    key = (server.cache.version, server.worker_state.reported_at)
    if known is not None and 0 <= now - known.made_at < _FORECAST_S:
        costly = known.cost_s > _COSTLY_FORECAST_S and now - known.made_at < 20 * known.cost_s
        if key == known.key or (costly and not fresh):
            return known.snapshot, known.plan
    began = time.thread_time()
    seen = snapshot(server, now)
    plan = plan_with_forecast(seen, server.options.policy)
    server.forecast = Forecast(key, seen, plan, now, time.thread_time() - began)
    return seen, plan


def _wake(server: ServerState, at: float | None) -> None:
    if at != server.wake_at:
        server.wake_at = at
        server.on_due.send()
