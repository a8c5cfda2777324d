"""Waste report: GPU-hours of some days that did nothing, by user and job, each with its fix."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from berth.protocol.message import GpuRef, Message
from berth.protocol.server import WasteKind, WasteLine, WasteOfUser, WasteReport
from berth.units import format_size
from berth_server.core.explain.phrases import code, count, job
from berth_server.core.explain.waste import Found, Hold, Loads, Wait, Waste, find
from berth_server.service.gpus.telemetry import COARSE, GpuTelemetry
from berth_server.service.gpus.use import Rates
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.store import waste

_DAY_S = 86_400.0
_MOST_LINES = 500
_BY_LIMIT = "time_limit"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Everything of the report that comes from the database."""

    since: float
    until: float
    holds: Sequence[Hold]
    waits: Sequence[Wait]
    index: Mapping[str, int]
    """The box's indices by UUID."""
    open_gpus: Sequence[str]
    """GPUs that are not drained."""
    rates: Rates


def sources(server: ServerState, days: float) -> Sources:
    """Read the leases and waits of the last days."""
    now = server.clock()
    since = now - days * _DAY_S
    reader = server.db.read
    gpus = server.known_gpus
    return Sources(
        since=since,
        until=now,
        holds=waste.holds(reader, since, now),
        waits=waste.waits(reader, since, now),
        index={gpu.uuid: gpu.index for gpu in gpus},
        open_gpus=[gpu.uuid for gpu in gpus if gpu.uuid not in server.drains],
        rates=server.options.rates,
    )


def waste_report(of: Sources, telemetry: GpuTelemetry, user: str | None = None) -> WasteReport:
    """Return the report, of one user with `user`. Reads files; run it on a thread."""
    step_s = COARSE.step_s
    first = -int(-max(of.since, of.until - COARSE.reach_s + step_s) // step_s)
    last = max(first, int(of.until) // step_s - 1)
    by_gpu = {uuid: telemetry.loads(uuid, first, last) for uuid in of.index}
    loads = Loads(step_s=step_s, first=first, by_gpu=by_gpu)
    found = find(of.holds, of.waits, loads, since=of.since, until=of.until, gpus=of.open_gpus)
    lines = [line for line in found.lines if user is None or line.user == user]
    return _shown(of, found, lines)


def as_csv(report: WasteReport) -> str:
    """Return the lines as comma-separated text."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(("kind", "user", "job", "name", "gpu_hours", "cost", "what", "fix"))
    for one in report.lines:
        cost = "" if one.cost is None else one.cost
        cells = (one.kind, one.user, one.job_id, one.name, one.gpu_hours, cost)
        # A cell that a spreadsheet would take for a formula is text.
        rows.writerow(
            [f"'{cell}" if str(cell).startswith(("=", "+", "-", "@")) else cell for cell in cells]
            + [one.sentence, one.fix]
        )
    return out.getvalue()


def _shown(of: Sources, found: Found, lines: Sequence[Waste]) -> WasteReport:
    kinds: dict[WasteKind, float] = dict.fromkeys(get_args(WasteKind), 0.0)
    users: defaultdict[str, dict[WasteKind, float]] = defaultdict(dict)
    for line in lines:
        kinds[line.kind] += line.gpu_h
        mine = users[line.user]
        mine[line.kind] = mine.get(line.kind, 0.0) + line.gpu_h
    sums = [
        WasteOfUser(
            user=name,
            gpu_hours=round(_did_nothing(by_kind), 2),
            by_kind={kind: round(value, 2) for kind, value in by_kind.items()},
        )
        for name, by_kind in users.items()
    ]
    capacity = len(of.index) * (of.until - of.since) / 3600
    wasted = _did_nothing(kinds)
    days = round((of.until - of.since) / _DAY_S)
    span = "week" if days == 7 else count(days, "day")
    return WasteReport(
        begins_at=moment(of.since),
        ends_at=moment(of.until),
        capacity_gpu_hours=round(capacity, 1),
        held_gpu_hours=round(found.held_gpu_h, 1),
        wasted_gpu_hours=round(wasted, 1),
        currency=of.rates.currency,
        sentence=f"In the last {span} {wasted:,.0f} of {capacity:,.0f} GPU-hours did nothing.",
        by_kind={kind: round(value, 2) for kind, value in kinds.items()},
        users=sorted(sums, key=lambda one: (-one.gpu_hours, one.user)),
        lines=[_line(one, of) for one in lines[:_MOST_LINES]],
        left_out=max(0, len(lines) - _MOST_LINES),
    )


def _did_nothing(by_kind: Mapping[WasteKind, float]) -> float:
    return sum(value for kind, value in by_kind.items() if kind != "memory")


def _line(one: Waste, of: Sources) -> WasteLine:
    told, fix = _SENTENCES[one.kind](one, of.index)
    price = of.rates.per_gpu_hour
    return WasteLine(
        kind=one.kind,
        job_id=one.job_id,
        name=one.name,
        user=one.user,
        gpu_hours=round(one.gpu_h, 2),
        cost=None if price is None else round(one.gpu_h * price, 2),
        sentence=str(told),
        sentence_parts=told,
        fix=str(fix),
        fix_parts=fix,
    )


def _waiting(one: Waste, _: Mapping[str, int]) -> tuple[Message, Message]:
    told = Message.of(
        "GPUs were free while ",
        job(one.job_id),
        f" waited for {count(one.gpus, 'GPU')}.",
    )
    if one.gpus > 1:
        return told, Message.of(
            "Ask for fewer GPUs or a shorter time limit, so that it starts beside others; its page "
            "shows when it would start."
        )
    return told, Message.of(
        *("A limit, a reservation or an external process kept it waiting; "),
        *(code(f"berth why {one.job_id}"), " shows which while it waits."),
    )


def _idle(one: Waste, _: Mapping[str, int]) -> tuple[Message, Message]:
    told = Message.of(f"It held {count(one.gpus, 'GPU')} without work.")
    return told, Message.of(
        *("End it when its work is done: ", code("--on-stall stop"), " ends a run that makes "),
        *("no progress, ", code("--idle 30m"), " a session that nobody uses."),
    )


def _gang_idle(one: Waste, index: Mapping[str, int]) -> tuple[Message, Message]:
    idle = tuple(sorted(index[uuid] for uuid in one.idle_uuids if uuid in index))
    told = Message.of(
        *(GpuRef(indices=idle), " had no work while others of its "),
        f"{count(one.gpus, 'GPU')} worked.",
    )
    busy = max(1, one.gpus - len(idle))
    return told, Message.of(
        *("Start a process for each GPU (", code(f"--nproc-per-node {one.gpus}"), "), or ask for "),
        *(code(f"--gpus {busy}"), "."),
    )


def _lost(one: Waste, _: Mapping[str, int]) -> tuple[Message, Message]:
    since = "since its last checkpoint" if one.saved else "without a checkpoint"
    words = (one.outcome or "exit").replace("_", " ").replace("exit", "failure")
    told = Message.of(f"The work {since} was lost when it ended: {words}.")
    if one.outcome == _BY_LIMIT:
        return told, Message.of(
            *(
                "Give it more time (",
                code(f"berth set {one.job_id} --time-limit 24h"),
                "), or save ",
            ),
            "when the warning signal comes before the limit.",
        )
    return told, Message.of(
        *("Save more often, and report it with ", code("berth.jobside.checkpoint_saved()"), "."),
    )


def _memory(one: Waste, _: Mapping[str, int]) -> tuple[Message, Message]:
    peak = one.peak_memory_bytes or 0
    told = Message.of(
        f"It used at most {format_size(peak)} of {format_size(one.gpu_bytes)} of a GPU's memory."
    )
    if one.gpus == 1:
        # A quarter more than it used, in whole GiB.
        need = -(-int(peak * 1.25) // 2**30)
        return told, Message.of(
            *(code(f"--share --gpu-memory {max(1, need)}GiB"), " leaves the rest to other jobs."),
        )
    return told, Message.of("A larger batch on fewer GPUs would use their memory.")


_SENTENCES = {
    "waiting": _waiting,
    "idle": _idle,
    "gang_idle": _gang_idle,
    "lost": _lost,
    "memory": _memory,
}
