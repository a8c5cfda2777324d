"""Failure of an attempt on one page: traceback, last lines of each rank, the last success."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from berth.protocol.dashboard import FailureReport, LogMatch, RankLines, SpecDifference
from berth.protocol.jobs import Job
from berth_server.service.jobs import lookup
from berth_server.service.jobs.show import show_job
from berth_server.service.logs.pages import LineReader, LogFile
from berth_server.service.logs.search import Markers
from berth_server.service.state import ServerState
from berth_server.store import jobs

_TRACEBACK_LINES = 80
_RANK_LINES = 20
_MOST_RANKS = 64
_TAIL_LINES = 4_000
_TAIL_BYTES = 2 << 20
_TEXT = 500
_WEEK_S = 7 * 86_400.0
_MARK = re.compile(r"^\[(?:rank|default)(\d{1,4})\]:?\s?")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\\\)")
_FIELDS = (
    *("command", "script", "gpus", "nodes", "gpu_memory", "share", "workdir", "python"),
    *("time_limit", "retries", "on_oom", "preemptible"),
)


@dataclass(frozen=True)
class Ended:
    """The part of a failure that comes from the database."""

    success: Job | None
    differences: list[SpecDifference]
    same: int


def ended(server: ServerState, job_id: int) -> Ended:
    """Return the last success of that name, and what is different. Raises NotFound."""
    record = lookup.job(server.db.read, job_id)
    shown = show_job(server, record)
    before = jobs.last_success(server.db.read, record.user, record.name, job_id)
    success = None if before is None else show_job(server, before)
    same = 0
    if record.outcome is not None and shown.state == "failed":
        since = server.clock() - _WEEK_S
        same = jobs.count_failed(server.db.read, record.outcome, since) - 1
    differs = [] if success is None else differences(success, shown)
    return Ended(success, differs, max(0, same))


def report(found: Ended, log: LogFile, lines: LineReader, markers: Markers) -> FailureReport:
    """Return the page. Reads the log; run it on a thread. Raises Forbidden."""
    first = markers.read(log).first_traceback
    return FailureReport(
        attempt=log.attempt,
        traceback=[] if first is None else _traceback(log, lines, first),
        ranks=_ranks(log, lines),
        succeeded_job_id=None if found.success is None else found.success.id,
        differences=found.differences,
        same_outcome_7d=found.same,
    )


def differences(before: Job, now: Job) -> list[SpecDifference]:
    """Return the fields in which two jobs differ, as REST shows them: secrets stay masked."""
    pairs = [(name, getattr(before, name), getattr(now, name)) for name in _FIELDS]
    for group in ("env", "labels"):
        old, new = getattr(before, group), getattr(now, group)
        pairs += [(f"{group}.{key}", old.get(key), new.get(key)) for key in sorted({*old, *new})]
    old_code, new_code = before.snapshot, now.snapshot
    if old_code is not None and new_code is not None:
        pairs.append(("commit", old_code.commit, new_code.commit))
    return [
        SpecDifference(field=name, before=_text(old), now=_text(new))
        for name, old, new in pairs
        if old != new
    ]


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    dump = getattr(value, "model_dump_json", None)
    return str(dump() if dump else value)


def _traceback(log: LogFile, lines: LineReader, first: int) -> list[LogMatch]:
    """The lines from the first traceback to its error."""
    page = lines.read(log, first, _TRACEBACK_LINES, as_shown=True)
    found: list[LogMatch] = []
    for place, text in enumerate(page.lines):
        plain = _COLOUR.sub("", text)
        found.append(LogMatch(number=first + place, text=plain[:_TEXT]))
        bare = _MARK.sub("", plain)
        if place and bare and not bare[0].isspace():
            break  # the error itself stands at the margin
    return found


def _ranks(log: LogFile, lines: LineReader) -> list[RankLines]:
    """The last lines of each rank, those without a mark first."""
    page = lines.read(log, -_TAIL_LINES, _TAIL_LINES, as_shown=True, most_bytes=_TAIL_BYTES)
    if page.first + len(page.lines) < page.total:
        # Very long lines: the page ended early, and the end is what matters.
        page = lines.read(log, -_RANK_LINES, _RANK_LINES, as_shown=True)
    last: dict[int | None, deque[LogMatch]] = {}
    for place, text in enumerate(page.lines, page.first):
        plain = _COLOUR.sub("", text)
        mark = _MARK.match(plain)
        rank = None if mark is None else int(mark[1])
        if plain.strip() and (rank in last or len(last) < _MOST_RANKS):
            kept = last.setdefault(rank, deque(maxlen=_RANK_LINES))
            kept.append(LogMatch(number=place, text=plain[:_TEXT]))
    return [
        RankLines(rank=rank, lines=list(last[rank]))
        for rank in sorted(last, key=lambda rank: -1 if rank is None else rank)
    ]
