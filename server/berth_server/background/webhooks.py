"""Webhooks: what a job wants to be told of (`notify_on`) is posted to its `notify` URLs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, get_args

import anyio
import structlog
from anyio.abc import TaskGroup

from berth import gpu_usage
from berth.protocol.jobs import Job
from berth.protocol.message import GpuRef, Message
from berth_server.background import people
from berth_server.core.explain.alerts import AlertKind
from berth_server.core.explain.phrases import has_ended
from berth_server.service.jobs.show import show_job
from berth_server.service.logs.curve_watch import DIVERGED
from berth_server.service.notices import ENDS, STARTS, WAITS, is_wanted, on_waits
from berth_server.service.state import ServerState
from berth_server.service.web_address import host_of
from berth_server.store import events, jobs, messages
from berth_server.store.records import JobRecord

if TYPE_CHECKING:
    import httpx2

log = structlog.get_logger()
_KINDS = ENDS | {STARTS}
_ALERTS = frozenset({DIVERGED, WAITS, *(f"job.{kind}" for kind in get_args(AlertKind))})
_LOOKS_S = 30.0
_TIMEOUT_S = 10.0
# Pauses before each further try.
_PAUSES_S = (1.0, 5.0, 25.0)
_AT_ONCE = 8


async def run(server: ServerState) -> None:
    """Post what happens from now on to those jobs with `notify` URLs that want to be told of it."""
    last = events.last_id(server.db.read)
    news = asyncio.Event()
    stop = server.on_event.listen(news.set)
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_watch_waits, server)
            while True:
                await news.wait()
                news.clear()
                last = _start(server, group, limiter, last)
    finally:
        stop()


def _start(server: ServerState, group: TaskGroup, limiter: anyio.CapacityLimiter, last: int) -> int:
    """Start a sender for each notice that is due; return the id of the last event read."""
    reader = server.db.read
    newest = events.last_id(server.db.read)
    for job_id, kind in events.with_notice(reader, _KINDS, after=last, until=newest):
        record = jobs.get(reader, job_id)
        if record is None or not is_wanted(kind, record.spec.notify_on):
            continue
        body = (start_notice if kind == STARTS else notice)(server, record)
        for url in record.spec.notify:
            group.start_soon(send, limiter, url, body, f"job {record.id}")
    alerts = events.alerts_with_notice(reader, _ALERTS, after=last, until=newest)
    for job_id, kind, message in alerts:
        record = jobs.get(reader, job_id)
        if record is None or not is_wanted(kind, record.spec.notify_on):
            continue
        body = _body(record, show_job(server, record), f": {messages.decode(message) or Message()}")
        for url in record.spec.notify:
            group.start_soon(send, limiter, url, body, f"job {record.id}")
    return newest


async def _watch_waits(server: ServerState) -> None:
    while True:
        on_waits(server)
        await anyio.sleep(_LOOKS_S)


def start_notice(server: ServerState, record: JobRecord) -> bytes:
    """Return the body of the notice that a job has started."""
    shown = show_job(server, record)
    where = (" on ", GpuRef(indices=tuple(shown.gpu_indices))) if shown.gpu_indices else ()
    again = f", attempt {len(shown.attempts)}" if len(shown.attempts) > 1 else ""
    return _body(record, shown, str(Message.of(" runs", *where, f"{again}.")))


def notice(server: ServerState, record: JobRecord) -> bytes:
    """
    Return the body: `text` (Slack, Mattermost, Teams) and `content` (Discord) are the sentence,
    `job` is the job as REST shows it.
    """
    predicate = f" {has_ended(record.state)}."
    if message := messages.decode(record.message):
        predicate += f" {message}"
    shown = show_job(server, record)
    if shown.usage is not None:
        predicate += f" It used {gpu_usage.words(shown.usage)}."
    return _body(record, shown, predicate)


def _body(record: JobRecord, shown: Job, predicate: str) -> bytes:
    sentence = f"Berth: job {record.id} ({record.name}) of {record.user}{predicate}"
    job = json.loads(shown.model_dump_json())
    return json.dumps({"text": sentence, "content": sentence, "job": job}).encode()


async def send(limiter: anyio.CapacityLimiter, url: str, body: bytes, about: str) -> None:
    """Post a notice, a few times if need be. `about` is its subject in the log."""
    # Paths and queries of webhooks are secrets: only the host is logged.
    kind = url.partition("://")[0]
    web = kind in {"http", "https"}
    host = host_of(url) if web else kind
    async with limiter:
        for pause_s in (*_PAUSES_S, None):
            problem = await (_post(url, body) if web else people.tell(url, body))
            if problem is None:
                log.info("notice.sent", about=about, host=host)
                return
            if pause_s is None:
                log.warning("notice.failed", about=about, host=host, problem=problem)
                return
            await anyio.sleep(pause_s)


async def _post(url: str, body: bytes) -> str | None:
    """Post once; return what went wrong, or None."""
    import httpx2  # late: only servers whose users ask for webhooks pay for it

    client: httpx2.AsyncClient
    headers: dict[str, Any] = {"Content-Type": "application/json", "User-Agent": "berth"}
    try:
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S) as client:
            answer = await client.post(url, content=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        return type(error).__name__
    return None if answer.is_success else f"status {answer.status_code}"
