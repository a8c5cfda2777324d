"""End of an attempt, and the job's next state."""

from __future__ import annotations

from dataclasses import replace

from berth.protocol.internal import ObservedAttempt
from berth.protocol.message import Message
from berth.protocol.states import AttemptState, JobState, Outcome
from berth_server.core.explain import attempt_end
from berth_server.core.retry_pause import retry_pause_s
from berth_server.service.attempts.status import set_attempt_state, set_job_state
from berth_server.service.jobs.dependents import first_state, on_job_ended
from berth_server.store import attempts, jobs, messages
from berth_server.store.database import Transaction
from berth_server.store.records import AttemptRecord, JobRecord

# Trying again would end the same way, or do the same harm.
_NEVER_RETRIED = frozenset({Outcome.LAUNCH_ERROR, Outcome.ESCAPED})
_MOST_PORTS = 10
_COUNT_NOTHING = frozenset({Outcome.PREEMPTED, Outcome.CANCELLED, Outcome.OOM_GPU})

# A job that asks to be queued again each time it starts would go on for ever.
_MOST_ATTEMPTS = 1000


def on_attempt_ended(tx: Transaction, record: AttemptRecord, seen: ObservedAttempt) -> None:
    """
    End an attempt, and its job unless something is left to try.

    A preempted attempt is queued again and counts nothing. One that died of GPU memory takes
    the next step of the ladder, while there is one; one whose port somebody else had is tried
    on another port, which counts nothing either; any other failure takes a retry, after a pause.
    """
    job = jobs.get(tx, record.job_id)
    assert job is not None
    outcome, message, columns = _end_attempt(tx, record, seen)
    if seen.port_taken and record.stop_reason is None and _may_change_port(tx, job):
        _again(tx, job, attempt_end.on_another_port(message), {})
    elif seen.exit is not None and seen.exit.prologue_failed and record.stop_reason is None:
        _again(tx, job, attempt_end.on_other_gpus(message), {})
    else:
        _next_state(tx, job, record, outcome, message, columns)


def on_superseded(tx: Transaction, record: AttemptRecord, seen: ObservedAttempt) -> None:
    """End an attempt after which its job has been tried again: the job's state is that of the later."""
    outcome, _, columns = _end_attempt(tx, record, seen)
    counts = outcome not in _COUNT_NOTHING and columns["exit_code"] != 0
    if counts:
        job = jobs.get(tx, record.job_id)
        assert job is not None
        jobs.change(tx, job.id, {"failures": job.failures + 1})


def _end_attempt(
    tx: Transaction, record: AttemptRecord, seen: ObservedAttempt
) -> tuple[Outcome, Message, dict[str, object]]:
    """End an attempt; return why, the sentence, and what its job shows of it."""
    outcome = _outcome(record, seen)
    code = _exit_code(seen)
    message = _message(record, seen, outcome, code)
    started = _started_at(record, seen)
    # Its own word, however late it is heard, within what can be.
    ended = min(seen.exit.ended_at.timestamp(), tx.now) if seen.exit else tx.now
    if started is not None:
        ended = max(ended, min(started, tx.now))
    columns: dict[str, object] = {
        "outcome": outcome.value,
        "message": messages.encode(message),
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
    set_attempt_state(tx, record.job_id, record.number, AttemptState.ENDED, columns)
    return outcome, message, {"exit_code": code, "started_at": started, "ended_at": ended}


def _next_state(
    tx: Transaction,
    job: JobRecord,
    record: AttemptRecord,
    outcome: Outcome,
    message: Message,
    columns: dict[str, object],
) -> None:
    if outcome is Outcome.EXIT and columns["exit_code"] == 0:
        _end(tx, job, JobState.SUCCEEDED, outcome, message, columns)
    elif outcome is Outcome.CANCELLED or record.stop_reason == Outcome.CANCELLED.value:
        _end(tx, job, JobState.CANCELLED, Outcome.CANCELLED, message, columns)
    elif outcome is Outcome.EARLY_STOPPED:
        _end(tx, job, JobState.CANCELLED, outcome, message, columns)
    elif outcome is Outcome.PREEMPTED and job.attempts < _MOST_ATTEMPTS:
        _again(tx, job, Message.of(message, " It is queued again."), {})
    elif outcome is Outcome.PREEMPTED:
        spent = f" It has had {job.attempts} attempts and is not queued again; submit it once more."
        _end(tx, job, JobState.FAILED, outcome, Message.of(message, spent), columns)
    elif outcome is Outcome.OOM_GPU and job.oom_steps < len(steps := _ladder(job)):
        again = attempt_end.with_next_step(message, steps[job.oom_steps])
        _again(tx, job, again, {"oom_steps": job.oom_steps + 1})
    elif outcome not in _NEVER_RETRIED and job.failures < (most := _most_failures(job, outcome)):
        pause_s = _pause_s(job.failures + 1, columns["started_at"], tx.now)
        again = attempt_end.retried(message, most - job.failures - 1, pause_s)
        _again(tx, job, again, {"failures": job.failures + 1}, pause_s)
    else:
        columns = {**columns, "failures": job.failures + 1}
        _end(tx, job, JobState.FAILED, outcome, message, columns)


def _end(
    tx: Transaction,
    job: JobRecord,
    state: JobState,
    outcome: Outcome,
    message: Message,
    columns: dict[str, object],
) -> None:
    set_job_state(tx, job.id, state, message, outcome=outcome, number=job.attempts, columns=columns)
    on_job_ended(tx, job.id, state)


def _again(
    tx: Transaction,
    job: JobRecord,
    message: Message,
    columns: dict[str, object],
    pause_s: float = 0.0,
) -> None:
    resumes_at = tx.now + pause_s if pause_s else None
    set_job_state(
        tx,
        job.id,
        first_state(tx, replace(job, resumes_at=resumes_at)),
        message,
        number=job.attempts,
        columns={**columns, "resumes_at": resumes_at},
    )


def _pause_s(failures: int, started_at: object, now: float) -> float:
    started = started_at if isinstance(started_at, float) else now
    return retry_pause_s(failures, now - started)


def _may_change_port(tx: Transaction, job: JobRecord) -> bool:
    """Return False where the last attempts all lost their port: more of them would not help."""
    last = attempts.of_jobs(tx, [job.id]).get(job.id, [])[-_MOST_PORTS:]
    lost = [attempt.outcome == Outcome.LAUNCH_ERROR.value for attempt in last]
    return len(lost) < _MOST_PORTS or not all(lost)


def _most_failures(job: JobRecord, outcome: Outcome) -> int:
    """Number of failures that are tried again: a stalled run that asked for it once at least."""
    asked = outcome is Outcome.STALLED and job.spec.on_stall == "retry"
    return max(1, job.spec.retries) if asked else job.spec.retries


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
) -> Message:
    """Reason that it was stopped, if that is why it ended, and the worker's word on the end."""
    said = Message.marked(seen.message or "")
    stopped_for = messages.decode(record.message)
    if stopped_for is not None and outcome.value == record.stop_reason:
        return Message.of(stopped_for, " ", said) if said else stopped_for
    if said:
        return said
    if outcome is not Outcome.EXIT and seen.exit is not None and seen.exit.message:
        return Message.marked(seen.exit.message)
    return attempt_end.ended(record.id, outcome, code, seen.exit.signal if seen.exit else None)
