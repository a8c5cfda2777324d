"""Full disks: what they are known by, and the sentence for them."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_SQLITE = ("full", "readonly", "disk I/O")
# SQLite needs a few pages for a transaction, a log some lines.
_LEAST_BYTES = 1 << 20


def is_full(error: BaseException) -> bool:
    """Return whether an error says that the disk takes no more."""
    if isinstance(error, sqlite3.Error):
        return any(word in str(error) for word in _SQLITE)
    return isinstance(error, OSError) and error.errno in _FULL


def full_message(folder: Path | str = "BERTH_HOME") -> str:
    """Return the sentence."""
    return f"The server's disk is full; free space under {folder} and try again."


def problem(folder: Path) -> str | None:
    """Return the sentence when a folder's disk is full now, else None."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return None
    full = facts.f_bavail * facts.f_frsize < _LEAST_BYTES or (facts.f_files and not facts.f_favail)
    return full_message(folder) if full else None
