"""Facts that runs report about themselves in `comparable.json`, for their comparison."""

from __future__ import annotations

import os
from typing import Any, cast

from berth import jobfiles
from berth_server.service.errors import Forbidden
from berth_server.service.logs.run_files import open_run_file
from berth_server.store.records import AttemptRecord

NAME = "comparable.json"
_MOST = 200  # settings of a run


def read_facts(record: AttemptRecord | None, uid: int) -> tuple[dict[str, str], str | None]:
    """Return settings of an attempt by name, and its note on shortened samples. Reads a file."""
    if record is None:
        return {}, None
    try:
        handle = open_run_file(record.run_dir, NAME, uid)
    except Forbidden:
        return {}, None
    if handle is None:
        return {}, None
    try:
        said = jobfiles.json_object(jobfiles.read_end(handle, jobfiles.JSON_BYTES)) or {}
    finally:
        os.close(handle)
    settings, note = said.get("settings"), said.get("shortened")
    known = cast("dict[str, Any]", settings) if isinstance(settings, dict) else {}
    plain = {
        jobfiles.line(name): jobfiles.line(str(value))
        for name, value in list(known.items())[:_MOST]
        if isinstance(value, str | int | float | bool)
    }
    return plain, jobfiles.line(note) if isinstance(note, str) else None
