"""`python -m berth_server.backup FILE`: a consistent copy of the database, also while it is used."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from berth import home


def main(arguments: list[str] | None = None) -> int:
    """Copy the database of BERTH_HOME to a file that does not exist yet."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("Say where to: python -m berth_server.backup FILE", file=sys.stderr)
        return 2
    source, target = home.resolve().database, Path(given[0])
    try:
        copy_database(source, target)
    except (OSError, sqlite3.Error) as error:
        print(f"{source} could not be copied to {target}: {error}.", file=sys.stderr)
        return 1
    print(f"Copied {source} to {target} ({target.stat().st_size} bytes).")
    return 0


def copy_database(source: Path, target: Path) -> None:
    """Copy with SQLite's online backup. Raises FileExistsError, FileNotFoundError, sqlite3.Error."""
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist")
    # Created first and readable by its owner alone: it holds the jobs' environments.
    target.touch(mode=0o600, exist_ok=False)
    origin = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    copy = sqlite3.connect(target)
    try:
        origin.backup(copy)
    finally:
        copy.close()
        origin.close()


if __name__ == "__main__":
    sys.exit(main())
