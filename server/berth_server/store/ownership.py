"""
Ownership of a home's run directories: by one database, whose ids go on from the highest of them.

A database that was emptied, or comes from another home, would give out the ids of jobs whose
records lie there. It carries its home's number (`application_id`, which a copy keeps), and
`runs/.database` holds the same one.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from berth_server.store import migrate
from berth_server.store.database import Reader, Transaction

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_NOTE = ".database"


_COPY = 1
"""`user_version` of a copy until a server has taken it in."""


class OwnershipError(Exception):
    """The database does not go with the run directories; the message names the fix."""


def highest_id(runs: Path) -> int:
    """Return the highest id of a job that has a run directory; 0 when none has."""
    try:
        names = os.listdir(runs)  # noqa: PTH208 - names alone are needed
    except FileNotFoundError:
        return 0
    return max((int(name) for name in names if _NUMBER.fullmatch(name)), default=0)


def refuse_emptied(database: Path, runs: Path) -> None:
    """Refuse to make a new database beside run directories of another. Raises OwnershipError."""
    highest = highest_id(runs)
    if highest and not _has_jobs(database):
        raise OwnershipError(
            f"{database} holds no job, but {runs} holds the run directories of jobs up to "
            f"{highest}: put a backup of the database back with `berth restore FILE`, rebuild it "
            f"from them with `berth restore --from-runs`, or start empty after "
            f"`mv {runs} {runs}.old`."
        )


def take(database: Path, runs: Path) -> int:
    """
    Tie a migrated database and the run directories together, and return the highest id there.

    Raises OwnershipError when they belong to another database.
    """
    highest = highest_id(runs)
    note = runs / _NOTE
    noted = _read(note)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        (own,) = connection.execute("PRAGMA application_id").fetchone()
        if not own:
            # New, or of an earlier version, which knew no numbers.
            own = noted or secrets.randbelow((1 << 31) - 1) + 1
            connection.execute(f"PRAGMA application_id = {own}")
    if noted not in {None, own} and highest:
        raise OwnershipError(
            f"{database} is not the database of the jobs whose run directories lie in {runs}: put "
            f"theirs back with `berth restore FILE`, or keep this one after `mv {runs} {runs}.old`."
        )
    if noted != own:
        part = note.with_name(f"{_NOTE}.part")
        part.write_text(f"{own}\n", encoding="ascii")
        part.replace(note)
    return highest


def is_copy(reader: Reader) -> bool:
    """Return True for a copy that no server has taken in since it was put back."""
    return reader.value("PRAGMA user_version") == _COPY


def mark_copy(connection: sqlite3.Connection) -> None:
    """Mark a database as a copy: what has happened since is to be read from the run directories."""
    connection.execute(f"PRAGMA user_version = {_COPY}")


def mark_taken(tx: Transaction) -> None:
    """Let a database be one that knows everything again."""
    tx.execute("PRAGMA user_version = 0")


def belongs(database: Path, runs: Path) -> bool:
    """Return False for a database of other run directories than these."""
    noted = _read(runs / _NOTE)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        (own,) = connection.execute("PRAGMA application_id").fetchone()
    return not own or noted in {None, own} or not highest_id(runs)


def _has_jobs(database: Path) -> bool:
    """Return whether a database has ever held a job. A damaged one is for its opener to refuse."""
    if not database.exists() or database.stat().st_size == 0:
        return False
    try:
        if migrate.revision(database) is None:
            return False
        with closing(sqlite3.connect(database)) as connection:
            if connection.execute("PRAGMA user_version").fetchone() == (_COPY,):
                return True  # made from the run directories, on purpose
            sql = "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'"
            row = connection.execute(sql).fetchone()
    except sqlite3.DatabaseError:
        return True
    return row is not None and row[0] > 0


def _read(note: Path) -> int | None:
    try:
        return int(note.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
