"""Sentences about limits: who has how much, and may have how much."""

from __future__ import annotations

from berth.protocol.message import Message, UserRef
from berth_server.core.explain.phrases import Piece, code, job
from berth_server.core.limits import LimitExceeded


def limit_message(exceeded: LimitExceeded) -> Message:
    """`ada holds 4 GPUs and may hold 4.`"""
    used, limit = f"{exceeded.used:.4g}", f"{exceeded.limit:.6g}"
    whose: tuple[Piece, ...] = (UserRef(name=exceeded.whose),)
    if exceeded.ablation:
        whose = (f"Ablation {exceeded.whose}",)
    elif exceeded.group:
        whose = (f"Group {exceeded.whose}",)
    match exceeded.resource:
        case "running_gpus":
            words = f" holds {used} GPUs and may hold {limit}"
        case "running_jobs":
            words = f" has {used} jobs running and may have {limit}"
        case "queued_jobs":
            words = f" has {used} jobs pending and may have {limit}"
        case "gpu_hours":
            words = f" has used {used} of {limit} GPU-hours"
    return Message.of(*whose, words, *_where_it_is_set(exceeded), *_counted(exceeded), ".")


def _where_it_is_set(exceeded: LimitExceeded) -> tuple[Piece, ...]:
    if exceeded.ablation and exceeded.resource == "gpu_hours":
        raised = code(f"berth ablate set {exceeded.whose} --max-gpu-hours HOURS")
        return (", so none of its jobs starts until it may use more: ", raised)
    if exceeded.ablation:
        return (" (max_running)",)
    return (f' (rule "{exceeded.rule}")',) if exceeded.rule else ()


def _counted(exceeded: LimitExceeded) -> tuple[Piece, ...]:
    if exceeded.blocked_for is None:
        return ()
    return (", counting ", job(exceeded.blocked_for), ", which is to start before it")
