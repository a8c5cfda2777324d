"""Sentences about limits: who has how much, and may have how much."""

from __future__ import annotations

from berth.protocol.message import Message, UserRef
from berth_server.core.explain.phrases import Piece, code, job
from berth_server.core.limits import Hit


def limit_message(hit: Hit) -> Message:
    """`ada holds 4 GPUs and may hold 4.`"""
    used, limit = f"{hit.used:.4g}", f"{hit.limit:.6g}"
    whose: tuple[Piece, ...] = (UserRef(name=hit.whose),)
    if hit.ablation:
        whose = (f"Ablation {hit.whose}",)
    elif hit.group:
        whose = (f"Group {hit.whose}",)
    match hit.resource:
        case "running_gpus":
            words = f" holds {used} GPUs and may hold {limit}"
        case "running_jobs":
            words = f" has {used} jobs running and may have {limit}"
        case "queued_jobs":
            words = f" has {used} jobs pending and may have {limit}"
        case "gpu_hours":
            words = f" has used {used} of {limit} GPU-hours"
    return Message.of(*whose, words, *_where_it_is_set(hit), *_counted(hit), ".")


def _where_it_is_set(hit: Hit) -> tuple[Piece, ...]:
    if hit.ablation and hit.resource == "gpu_hours":
        raised = code(f"berth ablate set {hit.whose} --max-gpu-hours HOURS")
        return (", so none of its jobs starts until it may use more: ", raised)
    if hit.ablation:
        return (" (max_running)",)
    return (f' (rule "{hit.rule}")',) if hit.rule else ()


def _counted(hit: Hit) -> tuple[Piece, ...]:
    if hit.kept_for is None:
        return ()
    return (", counting ", job(hit.kept_for), ", which is to start before it")
