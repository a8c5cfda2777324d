"""Jobs of one matrix, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth.protocol.jobs import Job
from berth.protocol.metrics import Ablation, AblationList, AblationRun, AblationSummary
from berth_server.service.errors import NotFound
from berth_server.service.metrics import extremes, read_metrics
from berth_server.service.present import show_jobs
from berth_server.store import attempts, jobs
from berth_server.store.records import AttemptRecord, JobRecord

if TYPE_CHECKING:
    from berth_server.service.service import Service

LABEL = "ablation"
_MOST_RUNS = 500
_ALL_POINTS = 1 << 30


@dataclass(frozen=True)
class Sources:
    """Everything of an ablation that comes from the database."""

    id: str
    records: list[JobRecord]
    shown: list[Job]
    tries: dict[int, list[AttemptRecord]]


def sources(service: Service, ablation_id: str) -> Sources:
    """The jobs of an ablation, its newest 500. Raises NotFound."""
    reader = service.db.read
    records = jobs.page(reader, labels=[(LABEL, ablation_id)], limit=_MOST_RUNS)[::-1]
    if not records:
        raise NotFound(f"No job has the label {LABEL}={ablation_id}; `berth ls` shows the labels.")
    tries = attempts.of_jobs(reader, [record.id for record in records])
    return Sources(ablation_id, records, show_jobs(service, records), tries)


def gather(found: Sources) -> Ablation:
    """The comparison. Reads the runs' metrics; run it on a thread."""
    runs: list[AblationRun] = []
    for record, job in zip(found.records, found.shown, strict=True):
        tries = found.tries.get(record.id)
        curve = read_metrics(record.id, tries[-1] if tries else None, record.uid, _ALL_POINTS)
        last, best, step = extremes(curve.points)
        runs.append(AblationRun.model_construct(job=job, last=last, best=best, step=step))
    labels = [jobs.labels_of(record) for record in found.records]
    names = dict.fromkeys(name for one in labels for name in one if name != LABEL)
    return Ablation.model_construct(
        id=found.id,
        varies=[name for name in names if len({one.get(name) for one in labels}) > 1],
        metrics=sorted({name for run in runs for name in run.last}),
        runs=runs,
    )


def list_ablations(service: Service, limit: int) -> AblationList:
    """All ablations, those with the newest jobs first."""
    rows = jobs.label_values(service.db.read, LABEL, limit)
    return AblationList(
        ablations=[
            AblationSummary(
                id=row.value,
                jobs=row.jobs,
                unfinished=row.unfinished,
                users=sorted(row.users.split("\n")),
                newest_job_id=row.newest,
            )
            for row in rows
        ]
    )
