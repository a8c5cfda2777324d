"""Facts that runs report about themselves in `comparable.json`, for their comparison."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any, cast

from berth import jobfiles
from berth_server.core.comparable import Fact
from berth_server.service.errors import Forbidden
from berth_server.service.logs.run_files import open_run_file
from berth_server.store.records import AttemptRecord

NAME = "comparable.json"
_MOST = 200  # settings of a run
_PARTS = ("profile", "history", "context")


@dataclass(frozen=True, slots=True)
class Reported:
    """A run's facts for the comparison, and what its samples left out."""

    facts: dict[Fact, str] = field(default_factory=dict[Fact, str])
    shortened: float = 0.0  # share of the samples
    left_out: dict[str, float] = field(default_factory=dict[str, float])


def read_facts(record: AttemptRecord | None, uid: int) -> Reported:
    """Return what an attempt reported of itself. Reads a file of the job, in which anything may be."""
    if record is None:
        return Reported()
    try:
        handle = open_run_file(record.run_dir, NAME, uid)
    except Forbidden:
        return Reported()
    if handle is None:
        return Reported()
    try:
        said = jobfiles.json_object(jobfiles.read_end(handle, jobfiles.JSON_BYTES)) or {}
    finally:
        os.close(handle)
    facts: dict[Fact, str] = {
        ("setting", jobfiles.line(name)): jobfiles.line(str(value))
        for name, value in list(_object(said.get("settings")).items())[:_MOST]
        if isinstance(value, str | int | float | bool)
    }
    for kind in ("training_samples", "samples_per_step"):
        if (number := _number(said.get(kind))) is not None:
            facts[kind, kind] = f"{number:g}"
    changed = said.get("changed_by_resume")
    if isinstance(changed, list):
        names = [jobfiles.line(str(name)) for name in cast("list[Any]", changed)[:_MOST]]
        facts["changed_by_resume", "changed_by_resume"] = ", ".join(names)
    shortened = _object(said.get("shortened"))
    lost = _object(shortened.get("left_out"))
    return Reported(
        facts=facts,
        shortened=_number(shortened.get("samples")) or 0.0,
        left_out={part: share for part in _PARTS if (share := _number(lost.get(part))) is not None},
    )


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and math.isfinite(value) else None
