"""Comparison of an ablation: its runs with their metrics, its caps, and the list of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from berth.protocol.ablations import AblationCaps, EarlyStop
from berth.protocol.jobs import Job
from berth.protocol.message import Message
from berth.protocol.metrics import (
    Ablation,
    AblationList,
    AblationRun,
    AblationSummary,
    RunDifference,
    Shortening,
)
from berth.protocol.states import JobState
from berth_server.core.comparable import (
    Difference,
    RunFacts,
    differences,
    sentence_of,
    shortening_of,
)
from berth_server.core.explain.phrases import code
from berth_server.service.ablations.facts import Reported, read_facts
from berth_server.service.ablations.limits import used_gpu_s
from berth_server.service.errors import NotFound
from berth_server.service.jobs.show import show_jobs
from berth_server.service.logs.run_curves import CurveReader
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.store import ablations, attempts, jobs
from berth_server.store.records import AblationRecord, AttemptRecord, JobRecord

LABEL = "ablation"
_MOST_RUNS = 500
# An answer about all runs together is bounded, however many there are and whatever they wrote.
_SPEC_BYTES = 8 << 20
_MOST_NUMBERS = 200_000
_MOST_DIFFERENCES = 50


@dataclass(frozen=True)
class Sources:
    """Everything of an ablation that comes from the database."""

    id: str
    records: list[JobRecord]
    shown: list[Job]
    tries: dict[int, list[AttemptRecord]]
    caps: AblationCaps | None
    total: int
    """Number of its jobs, those beyond `records` too."""


def sources(server: ServerState, ablation_id: str) -> Sources:
    """The jobs of an ablation, its newest 500, fewer of long scripts. Raises NotFound."""
    reader = server.db.read
    wanted = jobs.Filter(labels=((LABEL, ablation_id),))
    newest, _ = jobs.bounded_page(reader, wanted, limit=_MOST_RUNS, most_bytes=_SPEC_BYTES)
    records = newest[::-1]
    if not records:
        raise NotFound(
            Message.of(
                *(f"No job has the label {LABEL}={ablation_id}; ", code("berth ablate ls")),
                " shows which there are.",
            )
        )
    tries = attempts.of_jobs(reader, [record.id for record in records])
    row = ablations.get(reader, ablation_id)
    caps = None if row is None else show_caps(server, row)
    total = sum(jobs.counts(reader, labels=[(LABEL, ablation_id)]).values())
    return Sources(ablation_id, records, show_jobs(server, records), tries, caps, total)


def show_caps(server: ServerState, record: AblationRecord) -> AblationCaps:
    """Return the caps of an ablation and what its jobs have used."""
    return AblationCaps(
        user=record.user,
        created_at=moment(record.created_at),
        max_running=record.max_running,
        max_gpu_hours=record.max_gpu_hours,
        used_gpu_hours=round(used_gpu_s(server.cache, record, server.clock()) / 3600.0, 4),
        early_stop=rule_of(record),
    )


def rule_of(record: AblationRecord) -> EarlyStop | None:
    """Its early-stop rule."""
    return None if record.early_stop is None else EarlyStop.model_validate_json(record.early_stop)


def gather(found: Sources, reader: CurveReader) -> Ablation:
    """The comparison. Reads the runs' metrics; run it on a thread."""
    measured: list[dict[str, Any]] = []
    told: list[RunFacts] = []
    for record, job in zip(found.records, found.shown, strict=True):
        tries = found.tries.get(record.id)
        attempt = tries[-1] if tries else None
        ends, step = ({}, None) if attempt is None else reader.ends(attempt, record.uid)
        said = read_facts(attempt, record.uid)
        measured.append(
            {
                "job": job,
                "last": {name: end.last for name, end in ends.items()},
                "first": {n: end.first for n, end in ends.items() if end.first is not None},
                "best": {name: end.best for name, end in ends.items() if end.best is not None},
                "trouble": {n: end.trouble for n, end in ends.items() if end.trouble is not None},
                "step": step,
                "shortened": _shortening(said),
            }
        )
        made = step if said.facts and job.state == JobState.SUCCEEDED else None
        told.append(RunFacts(record.spec.labels, said.facts, made))
    names = sorted({name for one in measured for name in one["last"]})
    names = names[: max(10, _MOST_NUMBERS // (2 * len(measured)))]
    for one in measured:
        for which in ("last", "first", "best", "trouble"):
            one[which] = {name: one[which][name] for name in names if name in one[which]}
    runs = [
        AblationRun.model_construct(
            **one, differences=list(map(_shown, differs[:_MOST_DIFFERENCES]))
        )
        for one, differs in zip(measured, differences(told), strict=True)
    ]
    labels = [record.spec.labels for record in found.records]
    keys = dict.fromkeys(name for one in labels for name in one if name != LABEL)
    return Ablation.model_construct(
        id=found.id,
        varies=[key for key in keys if len({one.get(key) for one in labels}) > 1],
        metrics=names,
        runs=runs,
        total=found.total,
        caps=found.caps,
    )


def _shown(found: Difference) -> RunDifference:
    parts = sentence_of(found)
    return RunDifference.model_construct(
        **found._asdict(), sentence=str(parts), sentence_parts=parts
    )


def _shortening(said: Reported) -> Shortening | None:
    parts = shortening_of(said.shortened, said.left_out)
    if parts is None:
        return None
    return Shortening.model_construct(
        samples=said.shortened, left_out=said.left_out, sentence=str(parts), sentence_parts=parts
    )


def list_ablations(server: ServerState, limit: int) -> AblationList:
    """All ablations, those with the newest jobs first."""
    rows = jobs.label_values(server.db.read, LABEL, limit)
    known = {one.id: one for one in ablations.by_ids(server.db.read, {r.value for r in rows})}
    return AblationList(
        ablations=[
            AblationSummary(
                id=row.value,
                jobs=row.jobs,
                unfinished=row.unfinished,
                users=sorted(row.users.split("\n")),
                newest_job_id=row.newest,
                caps=show_caps(server, known[row.value]) if row.value in known else None,
            )
            for row in rows
        ]
    )
