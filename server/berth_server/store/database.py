"""
The one connection to SQLite, and the transaction.

The server is the only writer and works on the event loop's thread; nothing awaits between the
start and the end of a transaction, so reads beside it see whole states. Every write transaction
starts with BEGIN IMMEDIATE: the driver's default mode reads outside the transaction and loses
updates silently.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from berth_server.store import migrate

Row = tuple[Any, ...]
Parameters = Sequence[Any]

# WAL needs shared memory between processes, which these do not have.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "juicefs", "rclone", "s3fs")}
)


class StoreError(Exception):
    """The database cannot be used; the message names the fix."""


class Reader:
    """Reads by named queries."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.execute: Callable[..., sqlite3.Cursor] = connection.execute

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Every row."""
        return self._connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row, if there is one."""
        return self._connection.execute(sql, parameters).fetchone()

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row; None without a row."""
        row = self._connection.execute(sql, parameters).fetchone()
        return None if row is None else row[0]


class Transaction(Reader):
    """A write transaction; collects what has to be refreshed or done once it is on disk."""

    def __init__(self, connection: sqlite3.Connection, now: float, actor: str) -> None:
        super().__init__(connection)
        self.now = now
        """The moment of everything in it, unix seconds."""
        self.actor = actor
        """The user who does it, or `system`."""
        self.touched: set[int] = set()
        """Jobs whose rows, attempts or leases changed."""
        self.inserted: dict[int, Any] = {}
        """Rows of jobs that are new in it and unchanged since: they need not be read back."""
        self.events = 0
        """Number of events written."""
        self.after_commit: list[Callable[[], None]] = []

    def many(self, sql: str, rows: Sequence[Parameters]) -> None:
        """Execute once per row."""
        self._connection.executemany(sql, rows)

    def change(self, sql: str, parameters: Parameters = ()) -> int:
        """Execute and return how many rows it changed: zero means stale."""
        return self._connection.execute(sql, parameters).rowcount


class Database:
    """`berth.db`, open."""

    def __init__(self, path: Path) -> None:
        """
        Open the database, made or migrated as needed.

        Raises StoreError (network file system, damaged file, no permission) and
        `migrate.SchemaError` (made by a newer version).
        """
        self.path = path
        _refuse_network(path.parent)
        try:
            migrate.upgrade(path)
            path.chmod(0o600)  # it holds the jobs' environments
            self._connection = _connect(path)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The database {path} cannot be opened ({error}); check the disk and who owns "
                "the file, or restore a backup."
            ) from error
        self._reader = Reader(self._connection)
        self._durable: bool | None = None
        self._writing = False
        self.problem: str | None = None
        """The reason why the last transaction failed; None after one that did not."""
        self.commits = 0
        """Number of transactions committed since it was opened."""

    @property
    def read(self) -> Reader:
        """Reads of committed state (and, within `write`, of what it wrote)."""
        return self._reader

    @contextlib.contextmanager
    def write(
        self, *, now: float, actor: str = "system", durable: bool = True
    ) -> Generator[Transaction]:
        """
        One write transaction, all or nothing.

        With `durable` it survives power loss when this returns; without, only a crash of the
        process. Do no I/O inside.
        """
        assert not self._writing, "a transaction inside a transaction"
        if durable is not self._durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.problem = str(error)
            raise
        self._writing = True
        transaction = Transaction(self._connection, now, actor)
        try:
            yield transaction
            self._connection.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, sqlite3.OperationalError):
                self.problem = str(error)
            # A full disk may have rolled back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._writing = False
        self.commits += 1
        self.problem = None
        for callback in transaction.after_commit:
            callback()

    def fold(self) -> None:
        """
        Copy the write-ahead log into the database file, without keeping the writer waiting.

        Safe on any thread: it has a connection of its own.
        """
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; the write-ahead log is folded into the file."""
        self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    for pragma in (
        "journal_mode = WAL",
        "foreign_keys = ON",
        "busy_timeout = 5000",
        "temp_store = MEMORY",
        # Folding is done beside the requests (`fold`); this is for when that falls behind.
        "wal_autocheckpoint = 16000",
        "cache_size = -16000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError("write-ahead logging is not available here")
    return connection


def _refuse_network(folder: Path) -> None:
    kind = file_system(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{folder} lies on a network file system ({kind}), where SQLite is not safe; set "
            "BERTH_HOME to a folder on a local disk."
        )


def file_system(folder: Path) -> str | None:
    """Kind of the file system that holds a folder, as the kernel names it; None if unknown."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        device = os.stat(folder).st_dev  # noqa: PTH116 - beside os.major
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            return after.split()[0]
    return None
