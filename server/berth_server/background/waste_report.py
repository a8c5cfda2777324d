"""Weekly waste report: posted every Monday to the addresses of the setting `waste_report_to`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import anyio
import anyio.to_thread

from berth.protocol.server import WasteReport
from berth_server.background import webhooks
from berth_server.service.gpus.telemetry import GpuTelemetry
from berth_server.service.gpus.waste import sources, waste_report
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events

KIND = "report.sent"
_HOUR = 8
_LOOK_S = 60.0
_TOLD = 10


async def run(server: ServerState, telemetry: GpuTelemetry, addresses: list[str]) -> None:
    """Send the report once for each week, also where the server was away on Monday morning."""
    while addresses:
        now = server.clock()
        due = last_due(moment(now).astimezone(server.options.policy.zone))
        week = due.strftime("%G-W%V")
        if now - due.timestamp() < timedelta(days=1).total_seconds() and not _sent(server, week):
            await send(server, telemetry, addresses, week)
        await anyio.sleep(_LOOK_S)


async def send(
    server: ServerState, telemetry: GpuTelemetry, addresses: list[str], week: str
) -> None:
    """Make the report and post it; written down first, so that it comes once at most."""
    found = sources(server, 7)
    report = await anyio.to_thread.run_sync(waste_report, found, telemetry)
    with change(server) as tx:
        events.write(tx, KIND, f"The waste report of {week} was sent.", data={"week": week})
    limiter = anyio.CapacityLimiter(4)
    async with anyio.create_task_group() as group:
        for url in addresses:
            group.start_soon(webhooks.send, limiter, url, body(report), f"waste {week}")


def body(report: WasteReport) -> bytes:
    """Return the notice: `text` and `content` are sentences, `report` is the report as REST has it."""
    lines = [report.sentence]
    lines += [
        f"{one.gpu_hours:.1f} GPU-hours, job {one.job_id} ({one.name}) of {one.user}: "
        f"{one.sentence} {one.fix}"
        for one in report.lines[:_TOLD]
    ]
    text = "\n".join(lines)
    shown = json.loads(report.model_dump_json())
    return json.dumps({"text": text, "content": text, "report": shown}).encode()


def last_due(now: datetime) -> datetime:
    """Return the last Monday morning at or before a moment, in its time zone."""
    monday = (now - timedelta(days=now.weekday())).replace(
        hour=_HOUR, minute=0, second=0, microsecond=0
    )
    return monday if monday <= now else monday - timedelta(days=7)


def _sent(server: ServerState, week: str) -> bool:
    return events.is_written(server.db.read, KIND, {"week": week})
