"""`python -m berth_server.restore [--dry-run] [--json] FILE|--from-runs`: put a copy back."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from berth import home as homes
from berth.daemons import identity
from berth.daemons.lock import Lock
from berth.home import Home
from berth_server import backup
from berth_server.service.restore import survey
from berth_server.store import migrate, ownership
from berth_server.store.database import Reader

_REFUSED = 2
_NAMED = 20


class RestoreError(Exception):
    """The copy is not put back; the message names the fix."""


@dataclass
class Found:
    """Content of a copy, and what there is beside it that it does not know."""

    source: str
    jobs: int = 0
    last_id: int = 0
    made_at: float | None = None
    """Time of its newest event, unix seconds."""
    going_on: list[str] = field(default_factory=list[str])
    """Attempts unknown to it that run, or were about to start."""
    ended: list[str] = field(default_factory=list[str])
    """Attempts unknown to it that have ended."""
    unreadable: list[str] = field(default_factory=list[str])
    """Run directories without a whole record."""
    lost: list[int] = field(default_factory=list[int])
    """Jobs of the present database that never started and are not in the copy."""
    queued_again: list[int] = field(default_factory=list[int])
    """Jobs that wait in the copy and have ended since without another start."""
    next_id: int = 1
    kept: str | None = None
    """Path at which the present database is kept."""


def main(arguments: list[str] | None = None) -> int:
    """Put a copy back, or say what would come of it; return 2 with one sentence where it cannot."""
    given = sys.argv[1:] if arguments is None else arguments
    flags = {word for word in given if word.startswith("--")}
    files = [word for word in given if not word.startswith("--")]
    from_runs = "--from-runs" in flags
    if flags - {"--dry-run", "--json", "--from-runs"} or len(files) != (0 if from_runs else 1):
        print("Say which copy: berth restore [--dry-run] FILE", file=sys.stderr)
        return _REFUSED
    home = homes.resolve()
    source = None if from_runs else Path(files[0]).expanduser().absolute()
    dry = "--dry-run" in flags
    try:
        found = _look_only(home, source) if dry else _restore(home, source)
    except (RestoreError, migrate.SchemaError) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    except sqlite3.Error as error:
        print(f"{source} is damaged ({error}); name another copy.", file=sys.stderr)
        return _REFUSED
    except OSError as error:
        print(f"Nothing can be restored in {home.folder}: {error}.", file=sys.stderr)
        return _REFUSED
    print(json.dumps(asdict(found)) if "--json" in flags else "\n".join(lines(found, dry=dry)))
    return 0


def _look_only(home: Home, source: Path | None) -> Found:
    """Make the new database beside nothing, compare, and remove it."""
    home.folder.mkdir(parents=True, exist_ok=True)
    part = _prepared(home, source)
    try:
        return _compare(home, source, part)
    finally:
        part.unlink(missing_ok=True)


def _restore(home: Home, source: Path | None) -> Found:
    home.make()
    lock = Lock(home.pid("server"))
    daemons = (home.supervisor_pid, home.pid("worker"))
    if any(identity.alive(path) for path in daemons) or not lock.take():
        raise RestoreError(
            "Berth is up here; stop it with `berth down` first (running jobs go on), and see with "
            "--dry-run what would come of it."
        )
    try:
        part = _prepared(home, source)
        try:
            found = _compare(home, source, part)
            with closing(sqlite3.connect(part, isolation_level=None)) as connection:
                ownership.mark_copy(connection)
                _go_on_after(connection, found.next_id - 1)
            backup.sync(part)
            found.kept = _put_aside(home.database)
            part.rename(home.database)
            backup.sync(home.folder)
        finally:
            part.unlink(missing_ok=True)
    finally:
        lock.release()
    return found


def _prepared(home: Home, source: Path | None) -> Path:
    """Make the database to put in place, whole and of this version, under a name of its own."""
    part = home.folder / f"berth.db.{os.getpid()}.restored"
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        if source is not None:
            _check(home, source)
            backup.fill(source, part)
        migrate.upgrade(part)
        part.with_name(f"{part.name}.before-{migrate.head()}").unlink(missing_ok=True)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _check(home: Home, source: Path) -> None:
    if not source.is_file():
        raise RestoreError(f"There is no file {source}; name one that `berth backup` made.")
    if source == home.database.absolute():
        raise RestoreError(f"{source} is the database itself; name a copy of it.")
    revision = migrate.revision(source)
    migrate.refuse_newer(source, revision)
    if revision is None:
        raise RestoreError(
            f"{source} is no database of Berth's; name one that `berth backup` made."
        )
    if not ownership.belongs(source, home.runs):
        raise RestoreError(
            f"{source} is not a copy of the database of the jobs whose run directories lie in "
            f"{home.runs}: name a copy of theirs, or restore it after "
            f"`mv {home.runs} {home.runs}.old`."
        )


def _compare(home: Home, source: Path | None, part: Path) -> Found:
    found = Found(source=str(source or home.runs))
    with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as connection:
        seen = survey.look(Reader(connection), home.runs, all_jobs=True)
        found.jobs, found.last_id = backup.counts(part)
        (found.made_at,) = connection.execute("SELECT max(time) FROM events").fetchone()
        known = dict(connection.execute("SELECT id, ended_at IS NOT NULL FROM jobs"))
    going_on = seen.going_on
    found.going_on = [one.desired.attempt for one in going_on]
    found.ended = [one.desired.attempt for one in seen.adopted if one not in going_on]
    found.unreadable = [f"{job_id}/{number}" for job_id, number in seen.unreadable]
    on_disk = {one.key[0] for one in seen.adopted}
    present, last = _present(home.database)
    found.lost = sorted(set(present) - set(known) - on_disk)
    found.queued_again = sorted(
        job_id
        for job_id, ended in known.items()
        if not ended and present.get(job_id) and job_id not in on_disk and _waits(part, job_id)
    )
    found.next_id = max(last, found.last_id, ownership.highest_id(home.runs)) + 1
    return found


def _present(database: Path) -> tuple[dict[int, bool], int]:
    """Return the jobs of the present database, each with whether it has ended, and its last id."""
    if not database.exists():
        return {}, 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            jobs = dict(connection.execute("SELECT id, ended_at IS NOT NULL FROM jobs"))
        return jobs, backup.counts(database)[1]
    except sqlite3.Error:
        return {}, 0  # damaged: that is why a copy is put back


def _waits(part: Path, job_id: int) -> bool:
    sql = "SELECT state IN ('held', 'waiting', 'queued') FROM jobs WHERE id = ?"
    with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as connection:
        return bool(connection.execute(sql, (job_id,)).fetchone()[0])


def _go_on_after(connection: sqlite3.Connection, last: int) -> None:
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'jobs'")
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", (last,))


def _put_aside(database: Path) -> str | None:
    """
    Rename the present database, with its log; return its new name.

    The database first: its log beside another database would be taken for that one's.
    """
    if not database.exists() or database.stat().st_size == 0:
        for end in ("-wal", "-shm"):
            database.with_name(f"{database.name}{end}").unlink(missing_ok=True)
        return None
    kept = database.with_name(time.strftime(f"{database.name}.replaced-%Y-%m-%d-%H%M%S"))
    for end in ("", "-wal", "-shm"):
        path = database.with_name(f"{database.name}{end}")
        if path.exists():
            path.rename(f"{kept}{end}")
    return str(kept)


def lines(found: Found, *, dry: bool) -> list[str]:
    """Return the report for people."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.made_at or 0))
    made = f"{found.jobs} jobs, the last is {found.last_id}, written until {when}"
    said = [f"{found.source}: {made if found.made_at else 'no job yet'}."]
    for ids, text in (
        (found.going_on, "attempts that it does not know run and go on"),
        (found.ended, "attempts that it does not know have ended; their ends are taken over"),
        (found.unreadable, "run directories hold no whole record; their numbers stay taken"),
        (found.lost, "jobs submitted since never started and are lost; submit them again"),
        (found.queued_again, "jobs that have ended since without a start wait again; cancel them"),
    ):
        if ids:
            more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            said.append(f"  {len(ids)} {text}: {', '.join(map(str, ids[:_NAMED]))}{more}")
    said.append(f"The next job gets the id {found.next_id}.")
    if dry:
        return [*said, "Nothing was changed."]
    if found.kept:
        said.append(f"The database that was there is kept as {found.kept}.")
    return [*said, "Restored. `berth up` starts Berth with it and takes over what runs."]


if __name__ == "__main__":
    sys.exit(main())
