"""Check and listing of an ablation's cells before they are submitted."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from berth.cli import text
from berth.cli.failure import Failure


def check(spec: dict[str, Any], where: str) -> None:
    """Raise Failure for a spec that the server would refuse."""
    from pydantic import ValidationError

    from berth.invalid import field_problems, summary
    from berth.protocol.ablations import AblationSpec

    try:
        AblationSpec.model_validate_json(json.dumps(spec))
    except ValidationError as error:
        raise Failure(f"{where}: {summary(field_problems(error, AblationSpec))}") from None


def listed(spec: dict[str, Any]) -> str:
    """List the cells, one per line, and the total that they ask for."""
    jobs = [cell["job"] for cell in spec["cells"]]
    lines = [f"{text.clean(job['name'])}: {text.clean(_words(job))}" for job in jobs]
    runs = text.plural(len(jobs), "run")
    lines.append(text.style(f"{runs} of {text.clean(spec['name'])}{_gpu_hours(jobs)}.", "bold"))
    most = spec.get("max_gpu_hours")
    if most is not None:
        lines.append(f"No further run starts after {most:g} GPU-hours.")
    return "\n".join(lines)


def _gpu_hours(jobs: list[dict[str, Any]]) -> str:
    """Return the GPU-hours that the time limits allow, as a phrase."""
    limits = [_limit(job) for job in jobs]
    hours = sum(
        _gpus(job) * limit.total_seconds() / 3600.0
        for job, limit in zip(jobs, limits, strict=True)
        if limit is not None
    )
    open_ended = limits.count(None)
    if open_ended == len(jobs):
        return ", without a time limit, so their GPU-hours are unknown"
    rest = f", and {open_ended} without a time limit" if open_ended else ""
    if any(job.get("share") for job in jobs):
        rest += "; less for shares, which count as their part of the GPU"
    return f", at most {hours:.4g} GPU-hours by their time limits{rest}"


def _limit(job: dict[str, Any]) -> timedelta | None:
    from berth.units import parse_duration

    limit = job.get("time_limit")
    return None if limit is None else parse_duration(limit)


def _gpus(job: dict[str, Any]) -> int:
    from berth.commands import CommandError, read

    if isinstance(job.get("gpus"), int):
        return job["gpus"]
    try:
        wanted = read(job.get("command"), job.get("script")).gpus_wanted
    except CommandError:
        return 1
    return 1 if wanted is None else wanted


def _words(job: dict[str, Any]) -> str:
    command = job.get("command") or job.get("script")
    return command if isinstance(command, str) else " ".join(map(str, command or []))
