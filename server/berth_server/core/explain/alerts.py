"""Sentences about runs that are stuck, sick, or will not keep their time limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from berth.protocol.message import GpuRef, Message
from berth.protocol.specs import OnStall
from berth_server.core.explain.phrases import code, exactly, span
from berth_server.core.progress.remaining import Remaining
from berth_server.core.progress.stalls import StallKind

AlertKind = Literal["stalled", "straggler", "limit_too_short", "idle"]
_ACTIONS = {
    "warn": "",
    "stop": " It is stopped, as it asked for.",
    "retry": " It is stopped to be tried again, as it asked for.",
}


def stalled(
    kind: StallKind, quiet_s: float, gpus: Sequence[int], stacks: str | None, action: OnStall
) -> Message:
    """`No step and no line for 40m, while GPUs 0-3 wait without working …`"""
    doing = {
        "waiting": " wait for one another without working (full utilization at almost idle power)",
        "idle": " and all its processes do nothing",
    }[kind]
    where = Message.of(", while ", GpuRef(indices=tuple(sorted(gpus))), doing, ".") if gpus else "."
    look = (
        Message.of(" The Python stacks of its ranks are in ", code(stacks), ".") if stacks else ""
    )
    quiet = span(timedelta(seconds=quiet_s))
    return Message.of("No step and no line in its log for ", quiet, where, look, _ACTIONS[action])


def idle(gpus: Sequence[int], idle_s: float, stop_after: timedelta | None, job_id: int) -> Message:
    """`GPUs 0-3 have done nothing for 30m; it is stopped when they have for 2h …`"""
    return Message.of(
        GpuRef(indices=tuple(sorted(gpus))),
        " did nothing for ",
        span(timedelta(seconds=idle_s)),
        *("; it is stopped after ", exactly(stop_after), " without work") if stop_after else (),
        ". End it if it is not needed (",
        code(f"berth cancel {job_id}"),
        "), or submit it with ",
        code("--label idle=ok"),
        " if it has to wait.",
    )


def stopped_idle(gpus: Sequence[int], idle_s: float) -> Message:
    """`GPUs 0-3 did nothing for 2h, and it was stopped for others …`"""
    return Message.of(
        GpuRef(indices=tuple(sorted(gpus))),
        " did nothing for ",
        span(timedelta(seconds=idle_s)),
        ", the longest that this box allows; submit it again with ",
        code("--label idle=ok"),
        " if it has to wait.",
    )


def straggler(gpu: int) -> Message:
    """`GPU 3 draws other power than …`"""
    return Message.of(
        GpuRef(indices=(gpu,)),
        " has come to draw far more or less power than the job's other GPUs, which often means "
        "that it, or the rank on it, slows all of them down; see ",
        code("berth gpus"),
        ".",
    )


def limit_too_short(
    job_id: int, remaining: Remaining, left_s: float, limit_left_s: float, limit: timedelta
) -> Message:
    """`It will not finish within its time limit of 12h: step 3,120 of 5,000, about 5h left …`"""
    place = ""
    if remaining.step is not None and remaining.total is not None:
        place = f": step {remaining.step:,.10g} of {remaining.total:,.10g}"
    late_s = remaining.p90_s * left_s / remaining.p50_s if remaining.p50_s > 0 else left_s
    needed_s = limit.total_seconds() - limit_left_s + 1.1 * late_s
    longer = f"{-(-needed_s // 3600):.0f}h"
    return Message.of(
        "It will not finish within its time limit of ",
        exactly(limit),
        place,
        ", about ",
        span(timedelta(seconds=left_s)),
        " to go and ",
        span(timedelta(seconds=limit_left_s)),
        " of the limit left; ",
        code(f"berth set {job_id} --time-limit {longer}"),
        " gives it more time.",
    )
