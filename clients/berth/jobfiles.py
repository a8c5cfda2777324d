"""
Reader of everything that a job wrote: its files, and the JSON, text and numbers in them.

A job may put anything in the place of a file: a link, a named pipe, a folder, a file without
end, JSON that nests without end, text that no encoding takes. Nothing here follows a link, waits,
reads more than it was asked to, or raises because of what it reads. Standard library only: server
and worker share it.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, cast

from berth import terminal

FOLDER = "files"
"""The folder below a run directory that the job may write to."""
JSON_BYTES = 64 << 10
"""The longest JSON that is read."""
_DEPTH = 8
_LINE_LENGTH = 1000
# Marks that turn the direction of the text around them: what follows reads as something else.
_INVISIBLE = re.compile("[\x80-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_LARGEST_ID = 2**63 - 1
_LONGEST_NUMBER = 400  # characters; a float has at most 309 digits before its point


class NotOwnFileError(Exception):
    """Something other than the job's own regular file lies in its place."""


# Opening


def open_folder(path: str | os.PathLike[str], *, within: int | None = None) -> int | None:
    """Return a descriptor of a folder, no link; None when there is none."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, dir_fd=within)
    except (OSError, ValueError):
        return None


def open_file(
    folder: int, name: str, owners: Collection[int] | None = None, *, one_name: bool = True
) -> int | None:
    """
    Open a regular file below an open folder, for reading; None when none is there.

    `owners` are the uids that it may belong to; with `one_name` it may have no other name, which
    could be that of another user's file. Raises NotOwnFileError for anything else.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise NotOwnFileError(name) from None
    facts = os.fstat(handle)
    foreign = owners is not None and facts.st_uid not in owners
    shared = one_name and facts.st_nlink > 1
    if foreign or shared or not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise NotOwnFileError(name)
    return handle


def open_written(
    run_dir: str | os.PathLike[str], name: str, owners: Collection[int] | None = None
) -> int | None:
    """
    Open a file that a job wrote, for reading, by the path of its run directory.

    It lies in the run directory's folder for the job; attempts of earlier versions have none and
    wrote beside Berth's own files. None when it is not there. Raises NotOwnFileError.
    """
    outer = open_folder(run_dir)
    if outer is None:
        return None
    inner = open_folder(FOLDER, within=outer)
    try:
        return open_file(outer if inner is None else inner, name, owners)
    finally:
        os.close(outer)
        if inner is not None:
            os.close(inner)


def read_end(handle: int, most_bytes: int) -> bytes:
    """Return the last bytes of an open file; empty when it cannot be read."""
    try:
        size = os.fstat(handle).st_size
        return os.pread(handle, min(most_bytes, size), max(0, size - most_bytes))
    except OSError:
        return b""


def written(
    run_dir: str | os.PathLike[str],
    name: str,
    owners: Collection[int] | None = None,
    most_bytes: int = JSON_BYTES,
) -> bytes:
    """Return the content of a file that a job wrote; empty where it is not one, or too long."""
    try:
        handle = open_written(run_dir, name, owners)
    except NotOwnFileError:
        return b""
    if handle is None:
        return b""
    try:
        data = read_end(handle, most_bytes + 1)
    finally:
        os.close(handle)
    return data if len(data) <= most_bytes else b""


# Content


def json_object(data: bytes | str, most_bytes: int = JSON_BYTES) -> dict[str, Any] | None:
    """
    Return the JSON object in `data`, its texts cleaned; None for anything else.

    None as well for one that is too long or nests too deeply. Numbers may be of any size and not
    finite: see `finite`.
    """
    if not data or len(data) > most_bytes:
        return None
    try:
        found = _cleaned(json.loads(data), _DEPTH)
    except (ValueError, RecursionError, OverflowError, MemoryError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _cleaned(value: Any, depth: int) -> Any:
    """Return a JSON value with cleaned texts. Raises ValueError for one that nests too deeply."""
    if isinstance(value, str):
        return text(value)
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise ValueError("it nests too deeply")
    if isinstance(value, list):
        return [_cleaned(one, depth - 1) for one in cast("list[Any]", value)]
    pairs = cast("dict[str, Any]", value).items()
    return {text(name): _cleaned(one, depth - 1) for name, one in pairs}


def finite(value: object) -> float | None:
    """Return a number, or the number that a text holds, as a finite float; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def moment(seconds: float) -> datetime:
    """Return a file's time, which its owner sets at will, as a moment that is not to come."""
    now = time.time()
    inside = min(max(seconds, 0.0), now) if math.isfinite(seconds) else now
    return datetime.fromtimestamp(inside, UTC)


def whole(value: str | bytes, most: int) -> int | None:
    """Return the whole number from 0 to `most` that plain digits spell; None for all else."""
    if not value.isascii() or not value.isdigit() or len(value) > len(str(most)):
        return None
    number = int(value)
    return number if number <= most else None


def attempt_key(value: str) -> tuple[int, int] | None:
    """Return job and number of an attempt's id like `42.1`; None for all else that is said to be one."""
    job_id, _, number = value.partition(".")
    key = whole(job_id, _LARGEST_ID), whole(number, _LARGEST_ID)
    return None if key[0] is None or key[1] is None else (key[0], key[1])


def text(value: str) -> str:
    """Return a text that every encoding and terminal takes, line ends and tabs kept."""
    if value.isascii() and value.isprintable():
        return value  # what nearly all are, read a million times in a curve
    encodable = value.encode("utf-8", "replace").decode()
    return _INVISIBLE.sub("", terminal.strip(encodable))


def line(value: str, most: int = _LINE_LENGTH) -> str:
    """Return a text as one clean line of at most `most` characters."""
    # Four characters of an escape sequence or of blanks may hide behind each that is shown.
    found = " ".join(text(value[: 4 * most]).split())
    return found if len(found) <= most else found[: most - 1] + "…"


def failure(data: bytes) -> tuple[str | None, str | None]:
    """Return kind and sentence of a `failure.json`, the job's own diagnosis; Nones without one."""
    said = json_object(data) or {}
    kind, sentence = said.get("kind"), said.get("sentence")
    return (
        (line(kind, 100) or None) if isinstance(kind, str) else None,
        (line(sentence) or None) if isinstance(sentence, str) else None,
    )
