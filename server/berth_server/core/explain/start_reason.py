"""Start reason: what a queued job's expected start hangs on, as one sentence."""

from __future__ import annotations

from datetime import datetime

from berth.protocol.message import Message
from berth_server.core.explain.phrases import Piece, clock, gpu_list, job, user_list
from berth_server.core.model import ExpectedStart, GpuView, JobView, Plan, Snapshot

_NAMED = 3


def start_reason(snapshot: Snapshot, plan: Plan, waiting: JobView) -> Message | None:
    """
    Return what gives a queued job its GPUs at its expected start; None where nothing tells.

    `GPU 4 comes free when job 11 ends, about 14:40.` · `It follows jobs 33 and 37, which are
    ahead of it, on GPU 0.` · `GPU 7 is drained until 14:40.`
    """
    expected = plan.expected.get(waiting.id)
    if expected is None or expected.held_back or expected.at <= snapshot.now:
        return None
    by_uuid = {gpu.uuid: gpu for gpu in snapshot.gpus}
    gpus = [by_uuid[uuid] for uuid in expected.gpu_uuids if uuid in by_uuid]
    if not gpus:
        return None
    if expected.after:
        return _after(snapshot, expected, gpus)
    return _drained(expected.at, gpus) or _reserved(snapshot, waiting, expected.at, gpus)


def _after(snapshot: Snapshot, expected: ExpectedStart, gpus: list[GpuView]) -> Message:
    runs = {run.job_id: run for run in snapshot.running}
    ending = [job_id for job_id in expected.after if job_id in runs]
    planned = [job_id for job_id in expected.after if job_id not in runs]
    if planned:
        # The last to leave is one that has not started yet: it is ahead in the queue.
        are = "is" if len(planned) == 1 else "are"
        return Message.of(
            "It follows ",
            *_jobs(snapshot, planned),
            f", which {are} ahead of it, on ",
            gpu_list(gpus),
            ".",
        )
    last = [gpu for gpu in gpus if any(gpu.uuid in runs[one].gpu_uuids for one in ending)]
    one, ends = len(last) == 1, "ends" if len(ending) == 1 else "end"
    return Message.of(
        gpu_list(last),
        f" {'comes' if one else 'come'} free when ",
        *_jobs(snapshot, ending),
        f" {ends}, about ",
        clock(expected.at),
        ".",
    )


def _drained(at: datetime, gpus: list[GpuView]) -> Message | None:
    until = [g for g in gpus if g.unavailable is not None and g.unavailable.until is not None]
    if not until:
        return None
    is_one = len(until) == 1
    return Message.of(
        gpu_list(until), f" {'is' if is_one else 'are'} drained until ", clock(at), "."
    )


def _reserved(
    snapshot: Snapshot, waiting: JobView, at: datetime, gpus: list[GpuView]
) -> Message | None:
    for one in snapshot.reservations:
        mine = [gpu for gpu in gpus if gpu.uuid in one.gpu_uuids]
        if mine and one.ends_at == at and not one.admits(waiting.user, waiting.group):
            whose = user_list([*sorted(one.users), *sorted(one.groups)])
            are = "is" if len(mine) == 1 else "are"
            return Message.of(
                gpu_list(mine), f" {are} reserved for ", whose, " until ", clock(at), "."
            )
    return None


def _jobs(snapshot: Snapshot, ids: list[int]) -> list[Piece]:
    """`job 7 (train)`, `job 7 and job 9`, `job 7, job 9, job 11 and 4 more`"""
    if len(ids) == 1:
        running = (run.name for run in snapshot.running if run.job_id == ids[0])
        waiting = snapshot.pending.get(ids[0])
        return [job(ids[0], waiting.name if waiting is not None else next(running, ""))]
    pieces: list[Piece] = []
    shown = ids if len(ids) <= _NAMED else ids[:_NAMED]
    for place, job_id in enumerate(shown):
        last = place == len(ids) - 1
        pieces += ["" if place == 0 else " and " if last else ", ", job(job_id)]
    if len(ids) > len(shown):
        pieces.append(f" and {len(ids) - len(shown)} more")
    return pieces
