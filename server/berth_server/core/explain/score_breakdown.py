"""What gives a job its place in line, and why another one is before it or after it."""

from __future__ import annotations

from datetime import timedelta

from berth.protocol.explain import Comparison, PointsKind, PointsPart, Standing
from berth_server.core.availability import Board
from berth_server.core.explain.phrases import count, span
from berth_server.core.model import JobView, Plan, Snapshot
from berth_server.core.order import Weigher

_WORDS: dict[PointsKind, str] = {
    "length": "its length",
    "size": "the number of its GPUs",
    "fit": "GPUs that are free, or soon will be",
    "age": "its wait",
    "fair_share": "the little that its user had of late",
}


def standings(
    snapshot: Snapshot, plan: Plan, job_id: int, against: int | None = None
) -> tuple[Standing | None, Comparison | None]:
    """
    Return the job's standing, and it beside `against` (default: the job just ahead of it).

    Nothing for a job that is not in line, and no comparison where there is no other one in line.
    """
    place = plan.positions.get(job_id)
    if place is None:
        return None, None
    weigher = Weigher(Board(snapshot, plan.settings))
    own = _standing(snapshot, plan, weigher, job_id)
    if against is None:
        against = next((i for i, at in plan.positions.items() if at == place - 1), None)
    if against is None or against == job_id or against not in plan.positions:
        return own, None
    return own, _compared(snapshot, own, _standing(snapshot, plan, weigher, against))


def _standing(snapshot: Snapshot, plan: Plan, weigher: Weigher, job_id: int) -> Standing:
    job = snapshot.pending[job_id]
    parts = [
        PointsPart(kind=kind, points=points, sentence=_fact(snapshot, weigher, job, kind))
        for kind, points in weigher.parts(job).items()
    ]
    return Standing(
        job_id=job.id,
        name=job.name,
        user=job.user,
        position=plan.positions[job_id],
        aged=job_id in plan.order[: plan.aged],
        priority=job.priority,
        points=sum(part.points for part in parts),
        parts=parts,
    )


def _fact(snapshot: Snapshot, weigher: Weigher, job: JobView, kind: PointsKind) -> str:
    if kind == "length":
        return _length(weigher, job)
    if kind == "size":
        return f"It asks for {count(job.gpus, 'GPU')}."
    if kind == "fit":
        if job.gpus < 2:
            return "Only for jobs that need several GPUs at once."
        fit = weigher.fit(job)
        gpus = count(job.gpus, "GPU")
        if fit == 1.0:
            return f"{gpus} are free this moment."
        return f"{gpus} are not in sight." if fit == 0.0 else f"{gpus} come free later."
    if kind == "age":
        return f"It has waited {span(timedelta(seconds=weigher.waited_s(job)))}."
    return _use(snapshot, weigher, job.user)


def _length(weigher: Weigher, job: JobView) -> str:
    length = span(timedelta(seconds=weigher.length_s(job)))
    if job.expected_s is not None:
        return f"It counts as {length} long, going by earlier runs like it."
    if job.limit_s is None:
        return f"It counts as {length} long: it has no time limit and nothing like it ran before."
    used = f"{weigher.settings.limit_used:.0%}".replace("%", " %")
    return f"It counts as {length} long, {used} of its time limit: nothing like it ran before."


def _use(snapshot: Snapshot, weigher: Weigher, user: str) -> str:
    total = sum(use.decayed_gpu_s for use in snapshot.user_usage.values())
    if not weigher.fair or total <= 0:
        return "Nobody used the box of late." if total <= 0 else "Fair share is off."
    use = snapshot.user_usage.get(user)
    part = use.decayed_gpu_s / total if use is not None else 0.0
    return f"{user} had {part:.0%} of the GPU time of late.".replace("%", " %")


def _compared(snapshot: Snapshot, own: Standing, other: Standing) -> Comparison:
    ahead = other.position < own.position
    first, second = (other, own) if ahead else (own, other)
    return Comparison(standing=other, ahead=ahead, sentence=_decided(snapshot, first, second))


def _decided(snapshot: Snapshot, first: Standing, second: Standing) -> str:
    """Why `first` is before `second`."""
    head = f"Job {first.job_id} of {first.user} is before job {second.job_id}"
    if first.aged and second.aged:
        waited = snapshot.pending[first.job_id].since_ts < snapshot.pending[second.job_id].since_ts
        why = "it has waited longer" if waited else "it was submitted first"
        return f"{head}: both have waited past the age cap, and {why}."
    if first.aged:
        return f"{head}: it has waited past the age cap."
    if first.priority != second.priority:
        return f"{head}: its priority is {first.priority}, not {second.priority}."
    needs_box = [snapshot.pending[s.job_id].gpus == len(snapshot.gpus) > 1 for s in (first, second)]
    if needs_box == [True, False]:
        return f"{head}: it needs the whole box, which is cleared for it rather than kept busy."
    if needs_box == [False, True]:
        return (
            f"{head}, which needs the whole box: with the others before it, it puts that off "
            "by less than they count for."
        )
    difference = first.points - second.points
    if round(difference, 2) <= 0:
        waited = snapshot.pending[first.job_id].since_ts < snapshot.pending[second.job_id].since_ts
        why = "it has waited longer" if waited else "it was submitted first"
        return f"{head}: they have as many points, and {why}."
    others = {part.kind: part.points for part in second.parts}
    most = max(first.parts, key=lambda part: part.points - others.get(part.kind, 0.0))
    gain = most.points - others.get(most.kind, 0.0)
    return (
        f"{head}: it has {difference:.2f} points more, most of all for "
        f"{_WORDS[most.kind]} ({gain:+.2f})."
    )
