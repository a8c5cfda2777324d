"""List of the files in a run directory."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime

from berth.protocol.dashboard import RunFile, RunFiles

_MOST = 1000


def list_files(attempt: str | None, run_dir: str | None) -> RunFiles:
    """Return files and folders by name, without links; empty while there is no directory."""
    if run_dir is None:
        return RunFiles(attempt=attempt, files=[])
    try:
        handle = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return RunFiles(attempt=attempt, run_dir=run_dir, files=[])
    files: list[RunFile] = []
    try:
        # By its handle: a path could be another folder by now.
        for name in sorted(os.listdir(handle))[:_MOST]:  # noqa: PTH208 - pathlib has no handles
            try:
                facts = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except OSError:
                continue  # deleted meanwhile
            folder = stat.S_ISDIR(facts.st_mode)
            if not folder and not stat.S_ISREG(facts.st_mode):
                continue
            shown = os.fsencode(name).decode("utf-8", "replace")
            files.append(
                RunFile(
                    name=f"{shown}/" if folder else shown,
                    size_bytes=0 if folder else facts.st_size,
                    modified_at=datetime.fromtimestamp(facts.st_mtime, UTC),
                )
            )
    finally:
        os.close(handle)
    return RunFiles(attempt=attempt, run_dir=run_dir, files=files)
