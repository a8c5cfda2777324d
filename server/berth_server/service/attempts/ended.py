"""End of an attempt, and the job's next state."""

from __future__ import annotations

from berth.protocol.internal import ObservedAttempt
from berth.protocol.states import AttemptState, JobState, Outcome
from berth_server.service.attempts.status import set_attempt_state, set_job_state
from berth_server.service.jobs.dependents import first_state, on_job_ended
from berth_server.store import jobs
from berth_server.store.database import Transaction
from berth_server.store.records import AttemptRecord, JobRecord

# Trying again would end the same way, or do the same harm.
_NEVER_RETRIED = frozenset({Outcome.LAUNCH_ERROR, Outcome.ESCAPED})


def on_attempt_ended(tx: Transaction, record: AttemptRecord, seen: ObservedAttempt) -> None:
    """
    End an attempt, and its job unless something is left to try.

    A preempted attempt is queued again and counts nothing. One that died of GPU memory takes
    the next step of the ladder, while there is one; any other failure takes a retry.
    """
    job = jobs.get(tx, record.job_id)
    assert job is not None
    outcome = _outcome(record, seen)
    code = _exit_code(seen)
    message = _message(record, seen, outcome, code)
    started = _started_at(record, seen)
    ended = min(seen.exit.ended_at.timestamp(), tx.now) if seen.exit else tx.now
    columns: dict[str, object] = {
        "outcome": outcome.value,
        "message": message,
        "started_at": started,
        "ended_at": ended,
        "exit_code": code,
        "signal": seen.exit.signal if seen.exit else None,
        "max_rss_bytes": seen.exit.max_rss_bytes if seen.exit else None,
    }
    if seen.saved_at is not None:
        columns["saved_at"] = seen.saved_at.timestamp()
    if seen.launch is not None:
        columns["launch"] = seen.launch.model_dump_json()
    set_attempt_state(tx, job.id, record.number, AttemptState.ENDED, columns)
    _next_state(tx, job, record, outcome, message, {"exit_code": code, "started_at": started})


def _next_state(
    tx: Transaction,
    job: JobRecord,
    record: AttemptRecord,
    outcome: Outcome,
    message: str,
    columns: dict[str, object],
) -> None:
    if outcome is Outcome.EXIT and columns["exit_code"] == 0:
        _end(tx, job, JobState.SUCCEEDED, outcome, message, columns)
    elif outcome is Outcome.CANCELLED or record.stop_reason == Outcome.CANCELLED.value:
        _end(tx, job, JobState.CANCELLED, Outcome.CANCELLED, message, columns)
    elif outcome is Outcome.EARLY_STOPPED:
        _end(tx, job, JobState.CANCELLED, outcome, message, columns)
    elif outcome is Outcome.PREEMPTED:
        _again(tx, job, f"{message} It is queued again.", {})
    elif outcome is Outcome.OOM_GPU and job.oom_steps < len(steps := _ladder(job)):
        step = steps[job.oom_steps].replace("_", " ")
        told = f"{message.rstrip('.')}; it is queued again with the next step, {step}."
        _again(tx, job, told, {"oom_steps": job.oom_steps + 1})
    elif outcome not in _NEVER_RETRIED and job.failures < job.spec.retries:
        left = job.spec.retries - job.failures - 1
        after = f"{left} more after this" if left else "for the last time"
        told = f"{message.rstrip('.')}; it is queued again ({after})."
        _again(tx, job, told, {"failures": job.failures + 1})
    else:
        columns = {**columns, "failures": job.failures + 1}
        _end(tx, job, JobState.FAILED, outcome, message, columns)


def _end(
    tx: Transaction,
    job: JobRecord,
    state: JobState,
    outcome: Outcome,
    message: str,
    columns: dict[str, object],
) -> None:
    set_job_state(tx, job.id, state, message, outcome=outcome, number=job.attempts, columns=columns)
    on_job_ended(tx, job.id, state)


def _again(tx: Transaction, job: JobRecord, message: str, columns: dict[str, object]) -> None:
    set_job_state(tx, job.id, first_state(tx, job), message, number=job.attempts, columns=columns)


def _ladder(job: JobRecord) -> tuple[str, ...]:
    return job.spec.on_oom.steps if job.spec.on_oom else ()


def _outcome(record: AttemptRecord, seen: ObservedAttempt) -> Outcome:
    """The worker's diagnosis; without one what the exit record says."""
    if seen.outcome is not None:
        return seen.outcome
    if seen.exit is None:
        return Outcome.LOST
    if seen.exit.cause == "stopped":
        return Outcome(record.stop_reason or Outcome.CANCELLED.value)
    return {
        "exit": Outcome.EXIT,
        "time_limit": Outcome.TIME_LIMIT,
        "launch_error": Outcome.LAUNCH_ERROR,
    }[seen.exit.cause]


def _exit_code(seen: ObservedAttempt) -> int | None:
    if seen.exit is None:
        return None
    if seen.exit.exit_code is None and seen.exit.signal is not None:
        return 128 + seen.exit.signal
    return seen.exit.exit_code


def _started_at(record: AttemptRecord, seen: ObservedAttempt) -> float | None:
    if record.started_at is not None:
        return record.started_at
    first = seen.started_at or (seen.exit.started_at if seen.exit else None)
    return None if first is None else first.timestamp()


def _message(
    record: AttemptRecord, seen: ObservedAttempt, outcome: Outcome, code: int | None
) -> str:
    """What it was stopped for, if that is why it ended, and what the worker says of the end."""
    if record.message is not None and outcome.value == record.stop_reason:
        return f"{record.message} {seen.message}" if seen.message else record.message
    return seen.message or _sentence(record, seen, outcome, code)


def _sentence(
    record: AttemptRecord, seen: ObservedAttempt, outcome: Outcome, code: int | None
) -> str:
    if outcome is Outcome.EXIT:
        if seen.exit is not None and seen.exit.signal is not None:
            return f"It was ended by signal {seen.exit.signal}; see its log."
        return "It has succeeded." if code == 0 else f"It left with exit code {code}; see its log."
    if seen.exit is not None and seen.exit.message:
        return seen.exit.message
    return {
        Outcome.OOM_GPU: "It ran out of GPU memory; `berth plan` estimates what it needs.",
        Outcome.OOM_HOST: "It ran out of the box's memory and was killed; ask for less.",
        Outcome.TIME_LIMIT: "It reached its time limit; give a longer one, or save and resume.",
        Outcome.STALLED: "It stopped making progress; see its log.",
        Outcome.LOST: "Its supervision was lost, as when the box restarts; retry it.",
        Outcome.ESCAPED: "It ran on a GPU that was not its own; let it use only those it sees.",
        Outcome.LAUNCH_ERROR: "It could not be started; see its log.",
        Outcome.PREEMPTED: "It made room for another job.",
        Outcome.CANCELLED: "It was cancelled.",
        Outcome.EARLY_STOPPED: "Its ablation's early-stop rule ended it.",
        Outcome.DISK_FULL: "The disk is full; make room and retry it.",
    }.get(outcome, f"Attempt {record.id} ended.")
