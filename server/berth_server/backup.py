"""`python -m berth_server.backup FILE`: a consistent copy of the database, also while it is used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from berth import home
from berth_server.store import disk, ownership

_REFUSED = 2


def main(arguments: list[str] | None = None) -> int:
    """Copy the database of BERTH_HOME to a file that does not exist yet, or into a folder."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("Say where to: berth backup FILE", file=sys.stderr)
        return _REFUSED
    source, target = home.resolve().database, Path(given[0]).expanduser()
    if target.is_dir():
        target /= time.strftime("berth-%Y-%m-%d-%H%M%S.db")
    try:
        copy_database(source, target)
    except FileExistsError:
        print(f"{target} exists already; name a file that does not.", file=sys.stderr)
        return _REFUSED
    except FileNotFoundError as error:
        print(f"There is nothing to copy: {error}; check BERTH_HOME.", file=sys.stderr)
        return _REFUSED
    except (OSError, sqlite3.Error) as error:
        full = disk.is_full(error)
        why = f"the disk of {target.parent} is full; free space there" if full else error
        print(f"{source} could not be copied to {target}: {why}.", file=sys.stderr)
        return _REFUSED
    jobs, last = counts(target)
    count = "1 job" if jobs == 1 else f"{jobs} jobs"
    print(
        f"Copied {source} to {target}: {count}, the last is {last}, "
        f"{target.stat().st_size} bytes, checked."
    )
    return 0


def copy_database(source: Path, target: Path) -> None:
    """
    Copy with SQLite's online backup, and check the copy; it is there whole or not at all.

    Raises FileExistsError, FileNotFoundError, OSError, sqlite3.Error.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist")
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    # Readable by its owner alone from the first byte: it holds the jobs' environments.
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        fill(source, part)
        os.link(part, target)  # where nothing is: it never replaces another backup
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def fill(source: Path, target: Path) -> None:
    """Fill an empty file with a checked copy of a database, marked as one and on disk."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as origin,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        origin.backup(copy)
        # One file, without a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
        ownership.mark_copy(copy)
        (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {' '.join(found.split())}")
    sync(target)


def counts(database: Path) -> tuple[int, int]:
    """Return the number of jobs in a database, and the last id that it gave out."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
    return jobs, last[0] if last else 0


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk when this returns."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot do it for folders
            os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
