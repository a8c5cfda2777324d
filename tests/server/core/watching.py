"""Invariants of every plan, for any box and queue."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from berth.protocol.message import JobRef, Message, Span
from berth.protocol.states import JobState
from berth_server.core.explain.explanation import explain
from berth_server.core.explain.hints import without_run
from berth_server.core.forecast import plan_with_forecast as plan
from berth_server.core.limits import LimitUsage, is_spent
from berth_server.core.model import JobView, Plan, Snapshot


def look_at_starts(snapshot: Snapshot, made: Plan) -> None:
    """Gangs are whole, on GPUs that are free, fit and not reserved for others; no job is early."""
    cards = {card.uuid: card for card in snapshot.gpus}
    usage_now = LimitUsage(snapshot, made.settings)
    for start in made.starts:
        job = snapshot.pending[start.job_id]
        assert len(set(start.gpu_uuids)) == len(start.gpu_uuids) == job.gpus
        assert job.state is not JobState.HELD
        assert job.not_before is None or job.not_before <= snapshot.now
        assert all(need.state is JobState.SUCCEEDED for need in job.dependencies)
        assert usage_now.exceeded(job) is None
        usage_now.add(job)
        if job.ablation is not None and (caps := snapshot.ablations.get(job.ablation)):
            cells = [run for run in snapshot.running if run.ablation == job.ablation]
            started = [i for i in made.started if snapshot.pending[i].ablation == job.ablation]
            assert caps.max_running is None or len(cells) + len(started) <= caps.max_running
            assert not job.gpus or not is_spent(caps)
        length = job.time_limit or made.settings.assumed_length
        for uuid in start.gpu_uuids:
            assert cards[uuid].lease is None
            assert cards[uuid].unavailable is None
            assert cards[uuid].memory_total_bytes >= (job.gpu_memory_bytes or 0)
            for kept in snapshot.reservations:
                if uuid in kept.gpu_uuids and not kept.admits(job.user, job.group):
                    apart = kept.ends_at <= snapshot.now
                    assert apart or kept.starts_at >= snapshot.now + length


def look_at_the_aged(snapshot: Snapshot, made: Plan) -> None:
    """No job starts on a GPU that a job past the cap, before it in the order, waits for."""
    claimed = {claim.job_id for claim in made.claims}
    place = {job_id: i for i, job_id in enumerate(made.order)}
    for job_id in made.order[: made.aged]:
        job = snapshot.pending[job_id]
        assert snapshot.now - job.queued_at > made.settings.age_cap
        if job_id in made.started or job_id not in claimed:
            continue
        usable = {
            card.uuid
            for card in snapshot.gpus
            if card.memory_total_bytes >= (job.gpu_memory_bytes or 0)
        }
        for start in made.starts:
            if place[start.job_id] > place[job_id]:
                assert not usable & set(start.gpu_uuids)


def look_at_explanations(snapshot: Snapshot, made: Plan) -> None:
    """Each waits for a reason exactly when it does not start, and what would help does."""
    for job in snapshot.queue:
        shown = explain(snapshot, made, job.id)
        assert any(reason.blocking for reason in shown.reasons) == (job.id not in made.started)
        assert shown.expected_start is None or shown.expected_start >= snapshot.now
        if job.id in made.positions:
            assert shown.position == made.positions[job.id]
        assert shown.would_help == [str(hint) for hint in shown.would_help_parts]
        for hint in shown.would_help_parts:
            if "start once" in str(hint) or "starts once" in str(hint):
                named = next(part for part in hint.root if isinstance(part, JobRef))
                (run,) = (one for one in snapshot.running if one.job_id == named.id)
                without = without_run(snapshot, run)
                assert LimitUsage(without, made.settings).exceeded(job) is None
                now = job.id in plan(without, made.settings).started
                assert now == str(hint).startswith("It starts once")
                continue
            changed = with_hint(snapshot, job, hint)
            if changed is not None:
                others = tuple(one for one in snapshot.queue if one.id != job.id)
                tried = replace(snapshot, queue=(*others, changed))
                assert job.id in plan(tried, made.settings).started, hint


def with_hint(snapshot: Snapshot, job: JobView, hint: Message) -> JobView | None:
    """The job as the hint would have it; None where the hint is not about the job itself."""
    if "would start now" not in str(hint):
        return None
    for part in hint.root:
        if isinstance(part, Span):
            return replace(job, time_limit=timedelta(seconds=part.seconds))
    if fewer := re.search(r"With (\d+) GPUs? it", str(hint)):
        return replace(job, gpus=int(fewer[1]))
    assert "higher priority" in str(hint)
    return replace(job, priority=max(one.priority for one in snapshot.queue) + 1)
