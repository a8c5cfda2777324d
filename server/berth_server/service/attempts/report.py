"""Worker reports: observed attempts and GPUs, taken into the database."""

from __future__ import annotations

import json
from functools import partial

from berth import jobfiles
from berth.protocol.internal import ObservedAttempt, WorkerReport
from berth.protocol.message import Message
from berth.protocol.states import AttemptState, JobState, Outcome
from berth_server.service.ablations import limits
from berth_server.service.attempts.ended import on_attempt_ended
from berth_server.service.attempts.status import set_attempt_state, set_job_state, stop_attempt
from berth_server.service.gpus.drain import on_hook_failed
from berth_server.service.gpus.findings import Findings
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import attempts, gpus, jobs, lease_moves, messages
from berth_server.store.database import Transaction
from berth_server.store.gpus import KnownGpu
from berth_server.store.lease_moves import HeldGpu
from berth_server.store.records import AttemptRecord


def on_report(server: ServerState, report: WorkerReport) -> None:
    """
    Take in a report. What it says of an attempt with another token, or of one that is
    released, changes nothing; a report without news writes nothing.
    """
    now = server.clock()
    fresh_before = server.worker_state.fresh(now, server.options.stale_after_s)
    news = [
        (record, seen)
        for seen in report.attempts
        if (record := _living(server, seen)) is not None and _is_news(record, seen)
    ]
    for seen in report.attempts:
        if seen.examination is not None and (record := _living(server, seen)) is not None:
            server.examinations[record.job_id, record.number] = seen.examination
    server.worker_state.take(report, now)
    if report.snapshot is not None:
        server.use.take(report.snapshot, server.cache)
        # What was released before this look is confirmed by it (or shown as a leftover).
        server.cache.forget_releases(report.snapshot.taken_at.timestamp())
    findings = Findings.of(server)
    box = _box(server)
    if not (news or box or findings.news) and fresh_before:
        return
    ending = any(seen.phase == "ended" for _, seen in news)
    with change(server, durable=ending) as tx:
        if not fresh_before:
            findings.connected(tx, report)
        if box:
            gpus.remember(tx, box, tx.now)
            server.known_gpus = box
        server.use.keep(tx, [(r.job_id, r.number) for r, seen in news if seen.phase == "ended"])
        for record, seen in news:
            _take_one(server, tx, record, seen)
            tx.after_commit.append(partial(_learn, server, record))
        findings.write(tx)
        for record, message in findings.escaped:
            stop_attempt(tx, record, Outcome.ESCAPED, message)
    server.findings = findings.standing
    server.use.forget(server.cache.alive)


def _take_one(
    server: ServerState, tx: Transaction, record: AttemptRecord, seen: ObservedAttempt
) -> None:
    _placed(server, tx, record, seen)
    if hook := _failed_hook(seen):
        on_hook_failed(server, tx, (gpu[0] for gpu in json.loads(record.gpus)), hook)
    _take(tx, record, seen)
    if seen.phase == "ended" and seen.gpus_clear:
        limits.gave_back(tx, server.cache, record)
        # Before the plan: what was given back still counts against its user.
        server.usage.released(record, server.cache, tx.now)


def _failed_hook(seen: ObservedAttempt) -> str | None:
    """Return the sentence about a prologue or an epilogue that failed."""
    if seen.exit is not None and seen.exit.prologue_failed:
        return seen.exit.message
    return seen.epilogue_failed


def _learn(server: ServerState, before: AttemptRecord) -> None:
    """Remember how long a run took that succeeded."""
    if before.ended_at is not None:
        return
    reader = server.db.read
    now = attempts.get(reader, before.job_id, before.number)
    if now is None or now.exit_code != 0 or now.outcome != Outcome.EXIT.value:
        return
    job = jobs.get(reader, before.job_id)
    if job is not None and now.started_at is not None and now.ended_at is not None:
        server.run_history.ran(job, now.ended_at - now.started_at)


def _living(server: ServerState, seen: ObservedAttempt) -> AttemptRecord | None:
    key = jobfiles.attempt_key(seen.attempt)
    record = None if key is None else server.cache.alive.get(key)
    return record if record is not None and record.token == seen.token else None


def _is_news(record: AttemptRecord, seen: ObservedAttempt) -> bool:
    if seen.phase == "ended":
        return record.state != AttemptState.ENDED.value or seen.gpus_clear
    if record.state == AttemptState.ENDED.value:
        return False
    if seen.launch is not None and record.launch is None:
        return True
    if seen.placed and not _is_where(record, seen):
        return True
    if record.state in _TOLD and _waits_where(record, seen):
        return True
    if seen.saved_at is not None and seen.saved_at.timestamp() != record.saved_at:
        return True
    if seen.phase == "running":
        return record.state == AttemptState.STARTING.value or (
            record.started_at is None and seen.started_at is not None
        )
    return seen.phase == "stopping" and record.state != AttemptState.STOPPING.value


_TOLD = frozenset({AttemptState.STARTING.value, AttemptState.RUNNING.value})
"""States in which the message is where Slurm has the attempt; later it is why it was stopped."""


def _waits_where(record: AttemptRecord, seen: ObservedAttempt) -> bool:
    """Return True if where it stands in Slurm's queue is news."""
    stands = Message.marked(seen.waiting) if seen.waiting else None
    return stands != messages.decode(record.message)


def _is_where(record: AttemptRecord, seen: ObservedAttempt) -> bool:
    """Return True if the attempt holds the GPUs that Slurm gave it."""
    return {gpu[0] for gpu in json.loads(record.gpus)} == {gpu.uuid for gpu in seen.placed}


def _placed(
    server: ServerState, tx: Transaction, record: AttemptRecord, seen: ObservedAttempt
) -> None:
    """Let an attempt hold the GPUs that Slurm gave it, which may not be those of the plan."""
    known = server.worker_state.by_uuid
    if seen.placed and not _is_where(record, seen) and all(g.uuid in known for g in seen.placed):
        gpus = [HeldGpu(g.uuid, known[g.uuid].index, g.minor) for g in seen.placed]
        lease_moves.move(tx, record, gpus)


def _take(tx: Transaction, record: AttemptRecord, seen: ObservedAttempt) -> None:
    if seen.phase == "ended":
        if record.state != AttemptState.ENDED.value:
            on_attempt_ended(tx, record, seen)
        if seen.gpus_clear:
            attempts.release(tx, record.job_id, record.number)
            tx.touched.add(record.job_id)
        return
    columns: dict[str, object] = {}
    if record.state in _TOLD and _waits_where(record, seen):
        columns["message"] = messages.encode(Message.marked(seen.waiting)) if seen.waiting else None
    if seen.launch is not None:
        columns["launch"] = seen.launch.model_dump_json()
    if seen.started_at is not None:
        columns["started_at"] = seen.started_at.timestamp()
    if seen.saved_at is not None:
        columns["saved_at"] = seen.saved_at.timestamp()
    state = AttemptState(record.state)
    if seen.phase == "running" and state is AttemptState.STARTING:
        set_attempt_state(tx, record.job_id, record.number, AttemptState.RUNNING, columns)
        started = {"started_at": columns.get("started_at", tx.now)}
        message = f"Attempt {record.id} runs."
        set_job_state(
            tx, record.job_id, JobState.RUNNING, message, number=record.number, columns=started
        )
    elif seen.phase == "stopping" and state is not AttemptState.STOPPING:
        set_attempt_state(tx, record.job_id, record.number, AttemptState.STOPPING, columns)
        message = f"Attempt {record.id} is being stopped."
        set_job_state(tx, record.job_id, JobState.STOPPING, message, number=record.number)
    else:
        set_attempt_state(tx, record.job_id, record.number, state, columns)


def _box(server: ServerState) -> list[KnownGpu] | None:
    """The box's GPUs if they are others than were known."""
    if server.worker_state.snapshot is None:
        return None
    seen = [
        KnownGpu(gpu.uuid, gpu.index, gpu.name, gpu.memory_total_bytes)
        for gpu in server.worker_state.snapshot.gpus
    ]
    return seen if seen != server.known_gpus else None
