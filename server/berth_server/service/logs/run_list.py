"""Listing of the files in a run directory."""

from __future__ import annotations

import os
import stat

from berth import jobfiles
from berth.protocol.dashboard import RunFile, RunFiles
from berth_server.service.logs.run_files import open_run_file

_MOST = 1000


def list_files(attempt: str | None, run_dir: str | None) -> RunFiles:
    """Files and folders by name, links left out; empty while the directory is not there."""
    folder = None if run_dir is None else jobfiles.open_folder(run_dir)
    if folder is None:
        return RunFiles(attempt=attempt, run_dir=run_dir, files=[])
    try:
        files = _listed(folder)
        own = jobfiles.open_folder(jobfiles.FOLDER, within=folder)
        if own is not None:
            try:
                files += _listed(own, f"{jobfiles.FOLDER}/")
            finally:
                os.close(own)
    finally:
        os.close(folder)
    return RunFiles(attempt=attempt, run_dir=run_dir, files=files)


def open_own(run_dir: str | None, name: str, uid: int) -> int | None:
    """
    Open a file of the job's own folder by its name in the list; None where it is none.

    Berth's own records beside it may hold secrets of the environment and are not read here.
    """
    folder, slash, file = name.partition("/")
    if run_dir is None or folder != jobfiles.FOLDER or not slash or not file or "/" in file:
        return None
    return open_run_file(run_dir, file, uid) if file not in {".", ".."} else None


def _listed(folder: int, below: str = "") -> list[RunFile]:
    """Return what lies in an open folder: its path could name another one by now."""
    files: list[RunFile] = []
    for name in sorted(os.listdir(folder))[:_MOST]:
        try:
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            continue  # it is gone by now
        is_folder = stat.S_ISDIR(facts.st_mode)
        if not is_folder and not stat.S_ISREG(facts.st_mode):
            continue
        shown = below + os.fsencode(name).decode("utf-8", "replace")
        files.append(
            RunFile(
                name=f"{shown}/" if is_folder else shown,
                size_bytes=0 if is_folder else facts.st_size,
                modified_at=jobfiles.moment(facts.st_mtime),
            )
        )
    return files
