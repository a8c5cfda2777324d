"""Adoption of attempts that a database put back from a copy does not know."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from berth.commands import CommandError, Surroundings
from berth.commands import read as read_command
from berth.protocol.attempts import CodeSnapshot
from berth.protocol.internal import DesiredAttempt, FrozenCode, ObservedAttempt
from berth.protocol.message import Message
from berth.protocol.specs import JobSpec
from berth.protocol.states import AttemptState, JobState, Outcome
from berth_server.service.attempts.ended import on_attempt_ended, on_superseded
from berth_server.service.attempts.status import set_job_state
from berth_server.service.jobs.check import default_name
from berth_server.service.restore import survey
from berth_server.service.restore.found import FoundAttempt
from berth_server.service.restore.survey import Survey
from berth_server.store import attempts, events, gpus, jobs, messages, ownership
from berth_server.store.database import Database, Transaction
from berth_server.store.records import AttemptRecord, JobRecord

_UNKNOWN = Message.of(
    "It was taken over from its run directory, because the database is a copy from before its "
    "submit: its labels, dependencies, priority, retries and webhooks are not known."
)
_GOES_ON = "The database is a copy from before this attempt, which was found in its run directory."


def take_in(db: Database, runs: Path, now: float) -> Survey:
    """
    Let a database know of the attempts whose run directories lie beside it.

    Those that run go on, those that have ended get their ends, and no number is given out again.
    All of it is one transaction; a database that knows everything is not changed.
    """
    is_copy = ownership.is_copy(db.read)
    found = survey.look(db.read, runs, all_jobs=is_copy)
    if not is_copy and not found.is_news:
        return found
    with db.write(now=now) as tx:
        for record, seen in found.over:
            _end(tx, record, seen, last=not _is_tried_later(found, record))
            _give_back(tx, record)
        for position, one in enumerate(found.adopted):
            following = found.adopted[position + 1 : position + 2]
            last = not following or following[0].key[0] != one.key[0]
            _adopt(tx, one, last=last)
        for job_id, number in found.unreadable:
            _count(tx, job_id, number)
        running = len(found.going_on)
        events.write(
            tx,
            "server.restored",
            f"A copy of the database was taken in: {running} attempts unknown to it go on, "
            f"{len(found.adopted) - running} had ended.",
            data={"going_on": running, "ended": len(found.adopted) - running},
        )
        ownership.mark_taken(tx)
    return found


def _is_tried_later(found: Survey, record: AttemptRecord) -> bool:
    return any(one.key[0] == record.job_id and one.key[1] > record.number for one in found.adopted)


def _adopt(tx: Transaction, one: FoundAttempt, *, last: bool) -> None:
    """Write one attempt, and its job where that is not known either."""
    job_id, number = one.key
    is_new = jobs.get(tx, job_id) is None
    if is_new:
        _new_job(tx, one)
    _count(tx, job_id, number)
    record = _record(tx, one, is_new=is_new)
    attempts.insert(tx, record)
    uuids = [gpu.uuid for gpu in one.desired.gpus]
    share = one.desired.gpu_memory if one.desired.share else None
    if share is not None:
        gpus.remember_unseen(tx, [(gpu.uuid, gpu.index) for gpu in one.desired.gpus])
    tx.execute("SAVEPOINT leases")
    try:
        if not last or one.state == "ended":
            raise sqlite3.IntegrityError  # noqa: TRY301 - it holds nothing any more
        attempts.lease(tx, record, uuids, record.master_port, share)
    except sqlite3.IntegrityError:
        # Its GPUs have another holder by now, so it has ended.
        tx.execute("ROLLBACK TO leases")
        _end(tx, record, one, last=last)
        attempts.lease_past(tx, record, uuids, share)
        _give_back(tx, record)
    else:
        state = JobState(record.state)
        columns = {"started_at": record.started_at, "exit_code": None}
        set_job_state(tx, job_id, state, _GOES_ON, number=number, columns=columns)
    finally:
        tx.execute("RELEASE leases")


def _new_job(tx: Transaction, one: FoundAttempt) -> None:
    wanted = one.desired
    spec = _spec(wanted)
    record = JobRecord(
        id=wanted.job_id,
        spec=spec,
        state=JobState.QUEUED.value,
        user=wanted.user,
        uid=0 if wanted.uid is None else wanted.uid,
        queued_at=min(one.started_at or tx.now, tx.now),
        warnings=messages.encode_all([_UNKNOWN]),
        snapshot=_snapshot(wanted, wanted.snapshot),
    )
    jobs.insert(tx, [record], [jobs.spec_values(spec)])
    events.write(tx, "job.submitted", _UNKNOWN, job_id=wanted.job_id, data={"state": "queued"})


def _spec(wanted: DesiredAttempt) -> JobSpec:
    spec = JobSpec.model_construct(
        command=wanted.command,
        script=wanted.script,
        gpus=len(wanted.gpus),
        gpu_memory=wanted.gpu_memory,
        share=wanted.share,
        workdir=wanted.workdir,
        env=wanted.env,
        python=wanted.python,
        time_limit=wanted.time_limit,
        grace=wanted.grace,
        warn_before=wanted.warn_before,
        snapshot=wanted.snapshot is not None,
    )
    try:
        name = default_name(read_command(spec.command, spec.script, Surroundings(spec.env)))
    except CommandError:
        name = f"job-{wanted.job_id}"
    return spec.model_copy(update={"name": name})


def _snapshot(wanted: DesiredAttempt, frozen: FrozenCode | None) -> str | None:
    if frozen is None:
        return None
    root = wanted.workdir.removesuffix(f"/{frozen.subdir}") if frozen.subdir else wanted.workdir
    return CodeSnapshot(
        commit=frozen.commit, root=root, subdir=frozen.subdir, digest=frozen.digest
    ).model_dump_json()


def _record(tx: Transaction, one: FoundAttempt, *, is_new: bool) -> AttemptRecord:
    wanted = one.desired
    job_id, number = one.key
    started = None if one.started_at is None else min(one.started_at, tx.now)
    reason = None
    if one.refused or (one.state == "unstarted" and not one.whole):
        # It may still be claimed: the worker settles that, as for every stop before the start.
        reason = Outcome.CANCELLED if is_new else Outcome.PREEMPTED
    elif one.warned:
        reason = Outcome.PREEMPTED
    state = AttemptState.RUNNING if one.state == "running" and started else AttemptState.STARTING
    return AttemptRecord(
        job_id=job_id,
        number=number,
        state=(AttemptState.STOPPING if reason else state).value,
        outcome=None,
        message=None,
        token=wanted.token,
        stop_reason=reason.value if reason else None,
        created_at=started or tx.now,
        started_at=started,
        saved_at=None,
        ended_at=None,
        released_at=None,
        exit_code=None,
        signal=None,
        max_rss_bytes=None,
        run_dir=wanted.run_dir,
        master_port=wanted.master_port,
        gpus=json.dumps([[gpu.uuid, gpu.index, gpu.minor] for gpu in wanted.gpus]),
        launch=None if one.launch is None else one.launch.model_dump_json(),
        extra_env="{}",
        placement=None,
    )


def _end(tx: Transaction, record: AttemptRecord, found: FoundAttempt | None, *, last: bool) -> None:
    """End an attempt as its records tell, and its job with it if it was the last one."""
    if record.state == AttemptState.ENDED.value:
        return
    never = found is not None and found.refused
    seen = ObservedAttempt(
        attempt=record.id,
        token=record.token,
        phase="ended",
        exit=None if found is None else found.exit,
        outcome=Outcome(record.stop_reason or Outcome.CANCELLED) if never else None,
        gpus_clear=True,
    )
    (on_attempt_ended if last else on_superseded)(tx, record, seen)


def _give_back(tx: Transaction, record: AttemptRecord) -> None:
    attempts.release(tx, record.job_id, record.number)
    tx.touched.add(record.job_id)


def _count(tx: Transaction, job_id: int, number: int) -> None:
    """Let the job's next attempt have a number that no run directory has."""
    job = jobs.get(tx, job_id)
    if job is not None and job.attempts < number:
        jobs.change(tx, job_id, {"attempts": number})
