"""Notices: which events a job is told of, and jobs that wait for longer than it wants to be told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta

from berth.protocol.message import Message
from berth.protocol.states import FINAL_STATES
from berth.units import parse_duration
from berth_server.core.explain.phrases import code, span
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events, jobs

ENDS = frozenset(f"job.{state}" for state in FINAL_STATES)
STARTS = "job.running"
WAITS = "job.waits_long"
_KIND_OF = {STARTS: "start", WAITS: "waiting"}


def is_wanted(event: str, kinds: Collection[str]) -> bool:
    """Return whether a job with these `notify_on` is told of an event."""
    if event in ENDS:
        return "end" in kinds or ("failure" in kinds and event == "job.failed")
    return _KIND_OF.get(event, "trouble") in {kind.partition(":")[0] for kind in kinds}


def on_waits(server: ServerState) -> None:
    """Say of each job that waits for longer than its `notify_on` names that it does, once."""
    now = server.clock()
    due: dict[int, float] = {}
    for record in jobs.waiting_with_notice(server.db.read):
        after_s = min(_waits_s(record.spec.notify_on), default=float("inf"))
        if now - record.queued_at >= after_s:
            due[record.id] = now - record.queued_at
    for told in events.of_kind(server.db.read, WAITS, list(due)):
        due.pop(told.job_id or 0, None)
    if not due:
        return
    with change(server, durable=False) as tx:
        for job_id, waited_s in due.items():
            message = Message.of(
                "It has waited for ",
                span(timedelta(seconds=waited_s)),
                "; ",
                code(f"berth why {job_id}"),
                " shows why.",
            )
            events.write(tx, WAITS, message, job_id=job_id)


def _waits_s(kinds: Iterable[str]) -> Iterator[float]:
    for kind in kinds:
        name, _, after = kind.partition(":")
        if name == "waiting":
            yield parse_duration(after).total_seconds()
