"""Jobs, attempts and events as the API shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import structlog
from pydantic_core import from_json

from berth.protocol.attempts import Attempt, CodeSnapshot, LaunchFacts, Placement
from berth.protocol.dependencies import Dependency
from berth.protocol.events import Event
from berth.protocol.jobs import Job
from berth.protocol.message import Message
from berth.protocol.progress import ExpectedLength, Progress
from berth.protocol.specs import JobSpec
from berth.protocol.states import PENDING_STATES, AttemptState, JobState, Outcome
from berth_server.core.explain.explanation import explain, without_later
from berth_server.core.explain.start_reason import start_reason
from berth_server.core.model import ExpectedStart, JobView, Plan, Snapshot
from berth_server.service.gpus.use import show as show_use
from berth_server.service.jobs import lengths
from berth_server.service.logs.curve_watch import troubles
from berth_server.service.progress import links
from berth_server.service.scheduling.planning import latest_forecast
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.service.web_address import host_of
from berth_server.store import attempts, gpu_use, jobs, messages
from berth_server.store.gpu_use import GpuUse
from berth_server.store.records import AttemptRecord, EventRecord, JobRecord

log = structlog.get_logger()

# Explaining a job costs a walk through those ahead of it.
_EXPLAINED = 20


def show_jobs(server: ServerState, records: Sequence[JobRecord]) -> list[Job]:
    """Jobs with their attempts and, where they wait, their place, time and reason."""
    ids = [record.id for record in records]
    tries = attempts.of_jobs(server.db.read, [r.id for r in records if r.attempts])
    dependencies = jobs.dependencies(server.db.read, ids)
    wrong = troubles(server.db.read, tries) if tries else {}
    uses = {**gpu_use.of_jobs(server.db.read, list(tries)), **server.use.current} if tries else {}
    pages = links.of_jobs(server.db.read, list(tries)) if tries else {}
    status = _QueueStatus(server)
    shown: list[Job] = []
    for record in records:
        others = [
            Dependency(job_id=other.id, kind=other.kind)
            for other in dependencies.get(record.id, ())
        ]
        mine = tries.get(record.id, [])
        job = _with_usage(server, _job(record, mine, others, status), mine, uses)
        if record.id in pages:
            job = job.model_copy(update={"links": pages[record.id]})
        if record.id in wrong:
            job = job.model_copy(update={"trouble": wrong[record.id]})
        shown.append(job)
    return shown


def _with_usage(
    server: ServerState,
    job: Job,
    tries: Sequence[AttemptRecord],
    uses: Mapping[tuple[int, int], GpuUse],
) -> Job:
    """The job with what it and each of its attempts used of their GPUs."""
    now, rates = server.clock(), server.options.rates
    used = {
        one.number: (uses[one.job_id, one.number], (one.ended_at or now) - one.created_at)
        for one in tries
        if (one.job_id, one.number) in uses
    }
    if not used:
        return job
    shown = [
        attempt.model_copy(update={"usage": show_use([used[attempt.number]], rates)})
        if attempt.number in used
        else attempt
        for attempt in job.attempts
    ]
    total = show_use(list(used.values()), rates)
    return job.model_copy(update={"attempts": shown, "usage": total})


def show_job(server: ServerState, record: JobRecord) -> Job:
    """One job."""
    return show_jobs(server, [record])[0]


def show_event(record: EventRecord) -> Event:
    """One event."""
    attempt = None
    if record.job_id is not None and record.number is not None:
        attempt = f"{record.job_id}.{record.number}"
    message = messages.decode(record.message) or Message()
    return Event.model_construct(
        id=record.id,
        time=moment(record.time),
        kind=record.kind,
        actor=record.actor,
        job_id=record.job_id,
        attempt=attempt,
        gpu_uuid=record.gpu_uuid,
        message=str(message),
        message_parts=message,
        data=from_json(record.data) if record.data else {},
    )


_PENDING = {state.value for state in PENDING_STATES}


class _QueueStatus:
    """Place in the queue, expected start and reason of pending jobs; the plan only if needed."""

    def __init__(self, server: ServerState) -> None:
        self._server = server

    @cached_property
    def _forecast(self) -> tuple[Snapshot, Plan]:
        try:
            return latest_forecast(self._server)
        except Exception:
            log.exception("forecast.failed")
            return Snapshot(now=moment(self._server.clock()), gpus=()), Plan()

    def position(self, record: JobRecord) -> int | None:
        if record.state != JobState.QUEUED.value:
            return None
        return self._forecast[1].positions.get(record.id)

    def expected(self, record: JobRecord) -> ExpectedStart | None:
        if record.state != JobState.QUEUED.value:
            return None
        return self._forecast[1].expected.get(record.id)

    def length(self, record: JobRecord) -> ExpectedLength | None:
        return lengths.expected_of(self._server, record)

    def progress(self, job_id: int, number: int) -> Progress | None:
        return self._server.progress.shown((job_id, number), self._server.clock())

    def alerts(self, job_id: int, number: int) -> list[Message]:
        return list(self._server.alerts.get((job_id, number), {}).values())

    def reason(self, record: JobRecord) -> Message | None:
        try:
            return self._reason(record)
        except Exception:
            # A job that was taken in is answered with, explained or not.
            log.exception("explain.failed", job=record.id)
            return None

    def _reason(self, record: JobRecord) -> Message | None:
        view = self._server.cache.pending.get(record.id)
        if view is None:
            return None
        now = moment(self._server.clock())
        if view.state is JobState.HELD and not view.dependencies and view.not_before is None:
            return self._held
        if record.state != JobState.QUEUED.value:
            # Nothing but the job itself keeps it: no need to look at the box.
            alone = Snapshot(now=now, gpus=(), queue=(view,))
            return explain(alone, Plan(), record.id).summary_parts
        place = self._forecast[1].positions.get(record.id)
        if place is None:
            return None
        seen, plan = self._forecast
        if record.id in seen.pending:
            hangs_on = start_reason(seen, plan, seen.pending[record.id])
            if hangs_on is not None:
                return hangs_on
        if place > _EXPLAINED:
            return Message.of(f"{place - 1} jobs wait ahead of it.")
        return self._explained(record.id)

    @cached_property
    def _held(self) -> Message:
        """The same for every job that only a hold keeps."""
        now = moment(0.0)
        job = JobView(id=1, name="", user="", state=JobState.HELD, gpus=0, queued_at=now)
        return explain(Snapshot(now=now, gpus=(), queue=(job,)), Plan(), 1).summary_parts

    def _explained(self, job_id: int) -> Message | None:
        """The sentence of the whole explanation; those after the job do not matter."""
        seen, plan = without_later(*self._forecast, job_id)
        return explain(seen, plan, job_id).summary_parts


_FROM_SPEC = (JobSpec.model_fields.keys() & Job.model_fields.keys()) - {
    *("depends_on", "notify", "snapshot"),
}
"""Fields of the spec that a job shows as they are."""


def _job(
    record: JobRecord,
    tries: list[AttemptRecord],
    dependencies: list[Dependency],
    status: _QueueStatus,
) -> Job:
    last = tries[-1] if tries else None
    pending = record.state in _PENDING
    reason = status.reason(record) if pending else None
    start = status.expected(record) if pending else None
    gpus = from_json(last.gpus) if last is not None and not pending else []
    progress = None
    if last is not None and record.state == JobState.RUNNING.value:
        progress = status.progress(record.id, last.number)
    alerts = status.alerts(record.id, last.number) if last is not None and not pending else []
    spec = record.spec.__dict__
    message = messages.decode(record.message or (last.message if last is not None else None))
    warnings = messages.decode_all(record.warnings)
    return Job.model_construct(
        **{name: spec[name] for name in _FROM_SPEC},
        id=record.id,
        state=JobState(record.state),
        outcome=None if record.outcome is None else Outcome(record.outcome),
        message=None if message is None else str(message),
        message_parts=message or Message(),
        user=record.user,
        progress=progress,
        gpu_indices=[gpu[1] for gpu in gpus],
        gpu_uuids=[gpu[0] for gpu in gpus],
        depends_on=[other.job_id for other in dependencies],
        dependencies=dependencies,
        snapshot=snapshot_of(record),
        notify=[_without_credentials(url) for url in record.spec.notify],
        attempts=[_attempt(attempt) for attempt in tries],
        queued_at=moment(record.queued_at),
        started_at=None if record.started_at is None else moment(record.started_at),
        ended_at=None if record.ended_at is None else moment(record.ended_at),
        exit_code=record.exit_code,
        position=status.position(record) if pending else None,
        expected_start=None if start is None else start.at,
        expected_start_p90=None if start is None else start.late,
        expected_length=status.length(record) if pending else None,
        reason=None if reason is None else str(reason),
        reason_parts=reason or Message(),
        alerts=[str(alert) for alert in alerts],
        alerts_parts=alerts,
        warnings=[str(warning) for warning in warnings],
        warnings_parts=list(warnings),
    )


def _attempt(record: AttemptRecord) -> Attempt:
    gpus = from_json(record.gpus)
    message = messages.decode(record.message)
    return Attempt.model_construct(
        id=record.id,
        number=record.number,
        state=AttemptState(record.state),
        outcome=None if record.outcome is None else Outcome(record.outcome),
        message=None if message is None else str(message),
        message_parts=message or Message(),
        gpu_indices=[gpu[1] for gpu in gpus],
        gpu_uuids=[gpu[0] for gpu in gpus],
        master_port=record.master_port,
        created_at=moment(record.created_at),
        started_at=None if record.started_at is None else moment(record.started_at),
        saved_at=None if record.saved_at is None else moment(record.saved_at),
        ended_at=None if record.ended_at is None else moment(record.ended_at),
        exit_code=record.exit_code,
        signal=record.signal,
        max_rss_bytes=record.max_rss_bytes,
        run_dir=record.run_dir,
        launch=None if record.launch is None else LaunchFacts.model_validate_json(record.launch),
        placement=(
            None if record.placement is None else Placement.model_validate_json(record.placement)
        ),
    )


def snapshot_of(record: JobRecord) -> CodeSnapshot | None:
    """The code that a job runs, where it is frozen."""
    return None if record.snapshot is None else CodeSnapshot.model_validate_json(record.snapshot)


def _without_credentials(url: str) -> str:
    """Scheme and host: paths and queries of webhooks are secrets too. Of others the kind alone."""
    scheme, _, rest = url.partition("://")
    host = host_of(url)
    if scheme not in {"http", "https"} or host is None:
        return f"{scheme}://…"
    hidden = "/…" if re.search(r"[/?].", rest) else ""
    return f"{scheme}://{host}{hidden}"
