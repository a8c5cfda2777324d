"""Times at which the lines of a log were written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from berth import jobfiles, logtimes


class Log(Protocol):
    """The part of `pages.LogFile` that is needed."""

    @property
    def run_dir(self) -> str | None:
        """The attempt's run directory; None while there is none."""
        ...


def line_times(log: Log, ends: Sequence[int]) -> list[float | None]:
    """
    Return the unix seconds at which the log reached each of these places, to the second.

    None where the worker had not seen it: of earlier versions' attempts, and of the last second.
    """
    nothing: list[float | None] = [None] * len(ends)
    folder = None if log.run_dir is None else jobfiles.open_folder(log.run_dir)
    if folder is None:
        return nothing
    try:
        handle = jobfiles.open_file(folder, logtimes.NAME, {os.geteuid(), 0})
    except jobfiles.NotOwnFileError:
        return nothing
    finally:
        os.close(folder)
    if handle is None:
        return nothing
    try:
        return logtimes.times_of(handle, ends)
    finally:
        os.close(handle)
