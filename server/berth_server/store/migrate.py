"""Bring the database to the schema of this version."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

_REVISION = re.compile(r"(\d{4})_\w+\.py")
_PACKAGE = Path(__file__).resolve().parent.parent


class SchemaError(Exception):
    """The database cannot be used by this version; the message names the fix."""


def folder() -> Path:
    """Return the folder of the migrations: in the wheel beside the code, in a source tree at its root."""
    packed = _PACKAGE / "_migrations"
    return packed if packed.is_dir() else _PACKAGE.parent.parent / "migrations"


def head() -> str:
    """The newest revision of this version: files in `versions` are named by their revision."""
    names = (path.name for path in (folder() / "versions").iterdir())
    return max(match[1] for name in names if (match := _REVISION.fullmatch(name)))


def revision(path: Path) -> str | None:
    """The revision that a database is at; None for a new one."""
    connection = sqlite3.connect(path)
    try:
        (row,) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except (sqlite3.OperationalError, ValueError):
        return None
    finally:
        connection.close()
    return row[0]


def upgrade(path: Path) -> bool:
    """
    Bring the database at `path` (made if absent) to this version; True if anything was done.

    An existing database is copied to `<name>.before-<revision>` first. Raises SchemaError when
    the database is of a newer version.
    """
    newest, present = head(), revision(path)
    if present == newest:
        # The usual start does not pay for importing Alembic and SQLAlchemy.
        return False
    refuse_newer(path, present)
    if present is not None:
        _copy(path, path.with_name(f"{path.name}.before-{newest}"))
    _run(path)
    return True


def check(path: Path) -> None:
    """Raise SchemaError when a database cannot be used by this version; changes nothing."""
    if not path.exists():
        return
    try:
        present = revision(path)
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            (first,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SchemaError(_damaged(path, str(error))) from None
    if first != "ok":
        raise SchemaError(_damaged(path, first))
    if not os.access(path, os.R_OK | os.W_OK):
        raise SchemaError(
            f"The database {path} cannot be written by this user; check who owns the file."
        )
    refuse_newer(path, present)


def _damaged(path: Path, problem: str) -> str:
    return (
        f"The database {path} cannot be opened ({problem}); put a backup in its place "
        "(docs/operations.md says how), or check the disk and who owns the file."
    )


def refuse_newer(path: Path, present: str | None) -> None:
    """Raise SchemaError for a database whose revision this version does not know."""
    newest = head()
    if present is not None and present > newest:
        raise SchemaError(
            f"{path} was last used by a newer Berth (schema {present}, this one knows {newest}); "
            "install that version again, or point BERTH_HOME elsewhere."
        )


def config() -> Config:
    """Alembic's configuration, without a database."""
    from alembic.config import Config  # late: see upgrade()

    made = Config()
    made.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return made


def _run(path: Path) -> None:
    # Late: see upgrade().
    import sqlalchemy
    from alembic import command

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    settings = config()
    try:
        with engine.begin() as connection:
            # The driver would commit at each CREATE TABLE: a crash would leave half a schema.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
    finally:
        engine.dispose()


def _copy(source: Path, target: Path) -> None:
    origin, copy = sqlite3.connect(source), sqlite3.connect(target)
    try:
        origin.backup(copy)
    finally:
        copy.close()
        origin.close()
