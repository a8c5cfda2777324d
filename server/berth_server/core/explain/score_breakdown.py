"""Score of a queued job, factor by factor, and what decides between two jobs."""

from __future__ import annotations

from datetime import timedelta

from berth.protocol.explain import Comparison, PointsKind, ScoreBreakdown, ScorePart
from berth.protocol.message import Message, UserRef
from berth_server.core.availability import AvailabilityProfile
from berth_server.core.explain.phrases import Piece, count, job, percent, span
from berth_server.core.model import JobView, Plan, Snapshot
from berth_server.core.order import LIMIT_USED, Scorer

_FACTORS: dict[PointsKind, str] = {
    "length": "its expected length",
    "fit": "GPUs that are free or soon will be",
    "age": "its waiting time",
    "fair_share": "low recent usage",
}


def score_breakdown(
    snapshot: Snapshot, plan: Plan, job_id: int, against: int | None = None
) -> tuple[ScoreBreakdown | None, Comparison | None]:
    """
    Return the job's score, and it beside `against` (default: the job just ahead of it).

    Nothing for a job that is not in line, and no comparison where there is no other one in line.
    """
    place = plan.positions.get(job_id)
    if place is None:
        return None, None
    scorer = Scorer(AvailabilityProfile(snapshot, plan.settings))
    own = _breakdown(snapshot, plan, scorer, job_id)
    if against is None:
        against = next((i for i, at in plan.positions.items() if at == place - 1), None)
    if against is None or against == job_id or against not in plan.positions:
        return own, None
    return own, _compared(snapshot, scorer.box, own, _breakdown(snapshot, plan, scorer, against))


def _breakdown(snapshot: Snapshot, plan: Plan, scorer: Scorer, job_id: int) -> ScoreBreakdown:
    job = snapshot.pending[job_id]
    parts: list[ScorePart] = []
    for kind, points in scorer.terms(job).items():
        fact = _fact(snapshot, scorer, job, kind)
        parts.append(ScorePart(kind=kind, points=points, sentence=str(fact), sentence_parts=fact))
    return ScoreBreakdown(
        job_id=job.id,
        name=job.name,
        user=job.user,
        position=plan.positions[job_id],
        aged=job_id in plan.order[: plan.aged],
        priority=job.priority,
        points=sum(part.points for part in parts),
        parts=parts,
    )


def _fact(snapshot: Snapshot, scorer: Scorer, job: JobView, kind: PointsKind) -> Message:
    if kind == "length":
        return _length(scorer, job)
    if kind == "fit":
        if job.gpus < 2:
            return Message.of("Counts only for jobs that need several GPUs.")
        fit = scorer.fit(job)
        gpus = count(job.gpus, "GPU")
        if fit == 1.0:
            return Message.of(f"{gpus} are free now.")
        later = f"{gpus} come free later."
        return Message.of(later if fit else f"{gpus} do not come free within the plan.")
    if kind == "age":
        return Message.of("It has waited ", span(timedelta(seconds=scorer.waited_s(job))), ".")
    return _use(snapshot, scorer, job.user)


def _length(scorer: Scorer, job: JobView) -> Message:
    head: tuple[Piece, ...] = ("Estimated ", span(timedelta(seconds=scorer.length_s(job))))
    if job.expected_s is not None:
        return Message.of(*head, ", judging by earlier runs like it.")
    if job.limit_s is None:
        return Message.of(*head, ": it has no time limit and no earlier run to go by.")
    used = percent(LIMIT_USED)
    return Message.of(*head, f": {used} of its time limit, no earlier run to go by.")


def _use(snapshot: Snapshot, scorer: Scorer, user: str) -> Message:
    total = sum(use.decayed_gpu_s for use in snapshot.user_usage.values())
    if total <= 0:
        return Message.of("No recent usage.")
    if not scorer.fair:
        return Message.of("Fair share is off.")
    use = snapshot.user_usage.get(user)
    part = use.decayed_gpu_s / total if use is not None else 0.0
    return Message.of(UserRef(name=user), f" used {percent(part)} of the recent GPU time.")


def _compared(
    snapshot: Snapshot, box: int, own: ScoreBreakdown, other: ScoreBreakdown
) -> Comparison:
    ahead = other.position < own.position
    first, second = (other, own) if ahead else (own, other)
    why = Message.of(
        job(first.job_id, first=True),
        " of ",
        UserRef(name=first.user),
        " is before ",
        job(second.job_id),
        f"{_decided(snapshot, box, first, second)}.",
    )
    return Comparison(standing=other, ahead=ahead, sentence=str(why), sentence_parts=why)


def _decided(snapshot: Snapshot, box: int, first: ScoreBreakdown, second: ScoreBreakdown) -> str:
    """The rule by which `first` is before `second` on a box with so many GPUs that can be had."""
    if first.aged and second.aged:
        return f": both have waited past the age cap, and {_elder(snapshot, first, second)}"
    if first.aged:
        return ": it has waited past the age cap"
    if first.priority != second.priority:
        return f": its priority is {first.priority}, not {second.priority}"
    gpus = [snapshot.pending[one.job_id].gpus for one in (first, second)]
    if box > 1 and gpus[0] <= box < gpus[1]:
        return f": only {count(box, 'GPU')} can be had at present, and that one needs {gpus[1]}"
    needs_box = [number == box > 1 for number in gpus]
    if needs_box == [True, False]:
        return ": it needs the whole box, which is cleared for it rather than kept busy"
    if needs_box == [False, True]:
        return (
            ", which needs the whole box: this job and those before it delay that one by less "
            "than they gain"
        )
    difference = first.points - second.points
    if round(difference, 2) <= 0:
        return f": their scores are equal, and {_elder(snapshot, first, second)}"
    others = {part.kind: part.points for part in second.parts}
    most = max(first.parts, key=lambda part: part.points - others.get(part.kind, 0.0))
    gain = most.points - others.get(most.kind, 0.0)
    return f": its score is {difference:.2f} higher, mostly for {_FACTORS[most.kind]} ({gain:+.2f})"


def _elder(snapshot: Snapshot, first: ScoreBreakdown, second: ScoreBreakdown) -> str:
    waited = snapshot.pending[first.job_id].since_ts < snapshot.pending[second.job_id].since_ts
    return "it has waited longer" if waited else "it was submitted first"
