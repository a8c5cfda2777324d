"""Record of how the logs of attempts grow, for the time of each line."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from berth import jobfiles, logtimes

_LOG = "output.log"


class LogGrowth:
    """Appends to the time index of each log that has grown since the last look, once a second."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def look(self, run_dir: Path) -> None:
        """Note the log's size if it has changed; what cannot be written is left out."""
        name = str(run_dir)
        try:
            size = os.lstat(run_dir / _LOG).st_size
        except OSError:
            return
        if size == self._sizes.get(name, -1):
            return
        folder = jobfiles.open_folder(name)
        if folder is None:
            return
        try:
            with contextlib.suppress(OSError):
                # After a restart of the worker the last record says what is known.
                known = self._sizes.get(name)
                if known is None:
                    with contextlib.suppress(FileNotFoundError):
                        known = logtimes.last_size(folder)
                if size > (known or 0):
                    logtimes.append(folder, time.time(), size)
            self._sizes[name] = size
        finally:
            os.close(folder)

    def forget(self, alive: set[str]) -> None:
        """Drop what is known of logs other than these."""
        for name in self._sizes.keys() - alive:
            del self._sizes[name]
