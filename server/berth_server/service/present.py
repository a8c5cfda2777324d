"""From rows to what everybody is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from berth.protocol.events import Event
from berth.protocol.jobs import Attempt, Job, LaunchFacts, OomLadder
from berth.protocol.states import PENDING_STATES, AttemptState, JobState, Outcome
from berth_server.core.explain import explain
from berth_server.core.model import Plan, Snapshot
from berth_server.service.board import moment, seconds
from berth_server.store import attempts, jobs
from berth_server.store.records import AttemptRecord, EventRecord, JobRecord

if TYPE_CHECKING:
    from berth_server.service.service import Service

# A reason costs a walk through the queue; in longer lists only the first ones get theirs.
_REASONS_PER_ANSWER = 30


def show_jobs(service: Service, records: Sequence[JobRecord]) -> list[Job]:
    """Jobs with their attempts and, where they wait, their place, time and reason."""
    ids = [record.id for record in records]
    tries = attempts.of_jobs(service.db.read, [r.id for r in records if r.attempts])
    dependencies = jobs.dependencies(service.db.read, ids)
    outlook = _Outlook(service) if any(r.state in _PENDING for r in records) else None
    shown: list[Job] = []
    for record in records:
        others = [other for other, _, _ in dependencies.get(record.id, ())]
        shown.append(_job(record, tries.get(record.id, []), others, outlook))
    return shown


def show_job(service: Service, record: JobRecord) -> Job:
    """One job."""
    return show_jobs(service, [record])[0]


def show_event(record: EventRecord) -> Event:
    """One event."""
    attempt = None
    if record.job_id is not None and record.number is not None:
        attempt = f"{record.job_id}.{record.number}"
    return Event.model_construct(
        id=record.id,
        time=moment(record.time),
        kind=record.kind,
        actor=record.actor,
        job_id=record.job_id,
        attempt=attempt,
        gpu_uuid=record.gpu_uuid,
        message=record.message,
        data=json.loads(record.data) if record.data else {},
    )


_PENDING = {state.value for state in PENDING_STATES}


class _Outlook:
    """Place in the queue, expected start and reason of pending jobs."""

    def __init__(self, service: Service) -> None:
        self.snapshot: Snapshot
        self.plan: Plan
        self.snapshot, self.plan = service.forecast()
        waiting = (job_id for job_id in self.plan.order if job_id not in self.plan.started)
        self.position = {job_id: place for place, job_id in enumerate(waiting, start=1)}
        self._left = _REASONS_PER_ANSWER

    def reason(self, record: JobRecord) -> str | None:
        if record.state == JobState.QUEUED.value:
            if self._left <= 0:
                return None
            self._left -= 1
        try:
            return explain(self.snapshot, self.plan, record.id).summary
        except KeyError:
            return None


def _job(
    record: JobRecord, tries: list[AttemptRecord], depends_on: list[int], outlook: _Outlook | None
) -> Job:
    last = tries[-1] if tries else None
    pending = record.state in _PENDING
    gpus = json.loads(last.gpus) if last is not None and not pending else []
    expected = outlook.plan.expected.get(record.id) if outlook and pending else None
    return Job.model_construct(
        id=record.id,
        name=record.name,
        state=JobState(record.state),
        outcome=None if record.outcome is None else Outcome(record.outcome),
        message=record.message or (last.message if last is not None else None),
        user=record.user,
        command=None if record.command is None else json.loads(record.command),
        script=record.script,
        gpus=record.gpus,
        gpu_memory=record.gpu_memory_bytes,
        gpu_indices=[gpu[1] for gpu in gpus],
        gpu_uuids=[gpu[0] for gpu in gpus],
        workdir=record.workdir,
        env=json.loads(record.env),
        python=record.python,
        priority=record.priority,
        time_limit=seconds(record.time_limit_s),
        grace=timedelta(seconds=record.grace_s),
        warn_before=timedelta(seconds=record.warn_before_s),
        retries=record.retries,
        on_oom=_ladder(record),
        depends_on=depends_on,
        not_before=None if record.not_before is None else moment(record.not_before),
        labels=json.loads(record.labels),
        preemptible=bool(record.preemptible),
        notify=[_without_credentials(url) for url in json.loads(record.notify)],
        attempts=[_attempt(attempt) for attempt in tries],
        queued_at=moment(record.queued_at),
        started_at=None if record.started_at is None else moment(record.started_at),
        ended_at=None if record.ended_at is None else moment(record.ended_at),
        exit_code=record.exit_code,
        position=outlook.position.get(record.id) if outlook and pending else None,
        expected_start=expected.at if expected else None,
        reason=outlook.reason(record) if outlook and pending else None,
        warnings=json.loads(record.warnings),
    )


def _attempt(record: AttemptRecord) -> Attempt:
    gpus = json.loads(record.gpus)
    return Attempt.model_construct(
        id=record.id,
        number=record.number,
        state=AttemptState(record.state),
        outcome=None if record.outcome is None else Outcome(record.outcome),
        message=record.message,
        gpu_indices=[gpu[1] for gpu in gpus],
        gpu_uuids=[gpu[0] for gpu in gpus],
        master_port=record.master_port,
        started_at=None if record.started_at is None else moment(record.started_at),
        ended_at=None if record.ended_at is None else moment(record.ended_at),
        exit_code=record.exit_code,
        signal=record.signal,
        max_rss_bytes=record.max_rss_bytes,
        run_dir=record.run_dir,
        launch=None if record.launch is None else LaunchFacts.model_validate_json(record.launch),
    )


def _ladder(record: JobRecord) -> OomLadder | None:
    if record.on_oom is None:
        return None
    return OomLadder.model_construct(steps=tuple(json.loads(record.on_oom)))


def _without_credentials(url: str) -> str:
    """Scheme and host: paths and queries of webhooks are secrets too."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    hidden = "/…" if parts.path.strip("/") or parts.query else ""
    return urlunsplit((parts.scheme, host, "", "", "")) + hidden
