"""Watch over the losses of runs: one that is NaN, infinite or has run away is an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from pydantic_core import from_json

from berth.protocol.progress import CurveTrouble, RunTrouble
from berth_server.core.curve_health import is_loss, sentence, trouble
from berth_server.service.errors import Forbidden
from berth_server.service.logs.columns import AttemptCurves
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import attempts, events, jobs, messages
from berth_server.store.database import Reader
from berth_server.store.records import AttemptRecord, EventRecord

log = structlog.get_logger()

DIVERGED, RECOVERED = "job.diverged", "job.recovered"
_ENDED = frozenset({"job.succeeded", "job.failed", "job.cancelled", "job.queued"})
# Of what was written between two looks; a run that ends badly does so at its end.
_MOST_BYTES = 1 << 20
# Runs that ended between two looks: of more only the newest are looked at.
_MOST_ENDED = 64

Key = tuple[int, int]


@dataclass(frozen=True)
class Finding:
    """The loss of an attempt that is in trouble."""

    metric: str
    trouble: CurveTrouble


class CurveWatch:
    """Curves of the running attempts. `due` belongs on the loop, `look` on a thread."""

    def __init__(self) -> None:
        self._curves: dict[Key, AttemptCurves] = {}
        self._told: dict[Key, Finding | None] = {}
        self._last_event: int | None = None

    def due(self, server: ServerState) -> list[tuple[AttemptRecord, int]]:
        """The attempts to look at, each with its job's uid: those that run, and that just ended."""
        alive = {key: one for key, one in server.cache.alive.items() if one.started_at is not None}
        reader = server.db.read
        last = events.last_id(reader)
        ended: list[AttemptRecord] = []
        if self._last_event is not None and last > self._last_event:
            seen = events.after(reader, self._last_event, limit=10_000)
            ids = dict.fromkeys(e.job_id for e in seen if e.kind in _ENDED and e.job_id is not None)
            newest = attempts.of_jobs(reader, list(ids)[-_MOST_ENDED:])
            ended = [tries[-1] for tries in newest.values() if tries[-1].started_at is not None]
        self._last_event = last
        wanted = {(one.job_id, one.number): one for one in (*alive.values(), *ended)}
        self._curves = {key: one for key, one in self._curves.items() if key in wanted}
        self._told = {key: one for key, one in self._told.items() if key in wanted}
        owners = {job.id: job.uid for job in jobs.by_ids(reader, {key[0] for key in wanted})}
        return [(one, owners[key[0]]) for key, one in wanted.items() if key[0] in owners]

    def look(self, due: Sequence[tuple[AttemptRecord, int]]) -> dict[Key, Finding | None]:
        """Read on; return the attempts of which something else is known now than before."""
        changed: dict[Key, Finding | None] = {}
        for record, uid in due:
            key = (record.job_id, record.number)
            curves = self._curves.setdefault(key, AttemptCurves(record.run_dir, uid, _MOST_BYTES))
            try:
                curves.read(ended=record.state == "ended")
            except (Forbidden, OSError):
                continue
            except Exception:
                log.exception("curves.not_read", attempt=record.id)
                continue
            found = _finding(curves)
            before = self._told.get(key)
            if (found is None) != (before is None) or (
                found is not None and before is not None and found.metric != before.metric
            ):
                changed[key] = found
            self._told[key] = found
        return changed


def _finding(curves: AttemptCurves) -> Finding | None:
    """The gravest of the losses: not finite before diverged, `loss` before others."""
    found: list[tuple[bool, bool, str, CurveTrouble]] = []
    columns = curves.columns
    for name, column in columns.columns.items():
        wrong = trouble(name, column.values) if is_loss(name) else None
        if wrong is not None:
            step = columns.steps[column.rows[wrong.place]]
            one = CurveTrouble(kind=wrong.kind, step=step)
            found.append((wrong.kind != "not_finite", name != "loss", name, one))
    if not found:
        return None
    _, _, name, one = min(found, key=lambda each: each[:3])
    return Finding(name, one)


def on_findings(server: ServerState, found: Mapping[Key, Finding | None]) -> None:
    """
    Write what was found into the audit log, unless it is there already.

    The curves of `metrics.jsonl` are one source, the losses that a log prints the other.
    """
    with change(server, durable=False) as tx:
        known = events.newest_of(tx, (DIVERGED, RECOVERED), [key[0] for key in found])
        for (job_id, number), one in found.items():
            told = known.get(job_id)
            was = told is not None and told.number == number and told.kind == DIVERGED
            if (one is not None) == was:
                continue
            if one is None:
                text = "Its losses are ordinary numbers again."
                events.write(tx, RECOVERED, text, job_id=job_id, number=number)
            else:
                kind, step = one.trouble.kind, one.trouble.step
                data = {"metric": one.metric, "kind": kind, "step": step}
                text = sentence(one.metric, kind, step)
                events.write(tx, DIVERGED, text, job_id=job_id, number=number, data=data)


def troubles(reader: Reader, tries: Mapping[int, Sequence[AttemptRecord]]) -> dict[int, RunTrouble]:
    """Faults in the losses of the newest attempts, by job."""
    known = events.newest_of(reader, (DIVERGED, RECOVERED), list(tries))
    return {
        job_id: _shown(event)
        for job_id, event in known.items()
        if event.kind == DIVERGED and event.number == tries[job_id][-1].number
    }


def _shown(event: EventRecord) -> RunTrouble:
    facts = from_json(event.data or "{}")
    message = messages.decode(event.message)
    return RunTrouble.model_construct(
        kind=facts["kind"],
        step=facts["step"],
        metric=facts["metric"],
        sentence=str(message),
        sentence_parts=message,
    )
