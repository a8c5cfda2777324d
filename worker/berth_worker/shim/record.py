"""The exit record of an attempt, `exit.json`, written even when the disk is full."""

from __future__ import annotations

import contextlib
import os
import time

from berth_worker.shim import files

_NAME = "exit.json"
_PART = "exit.json.part"
_BYTES = 4096
_GIVE_UP_S = 600.0


class Record:
    """The exit record of one attempt."""

    def __init__(self, folder: int) -> None:
        """`folder` is the run directory, open."""
        self._folder = folder
        self._held = -1

    def hold_space(self) -> None:
        """Reserve the disk space that the record will need."""
        with contextlib.suppress(OSError):
            held = files.open_new(self._folder, _PART)
            try:
                files.write_all(held, b" " * _BYTES)
            except OSError:
                os.close(held)
                raise
            self._held = held

    def write(self, text: bytes) -> bool:
        """Write the record; retry for ten minutes while the disk is full, then return False."""
        deadline = time.monotonic() + _GIVE_UP_S
        while not self._is_written(text):
            if time.monotonic() >= deadline:
                return False
            time.sleep(1)
        return True

    def _is_written(self, text: bytes) -> bool:
        try:
            self._put(text)
        except FileNotFoundError:
            pass  # the run directory is gone: there is no reader either
        except OSError:
            self._held = -1
            return False
        return True

    def _put(self, text: bytes) -> None:
        if self._held < 0 or len(text) > _BYTES:
            files.replace(self._folder, _NAME, text)
            return
        os.pwrite(self._held, text, 0)
        os.ftruncate(self._held, len(text))
        os.rename(_PART, _NAME, src_dir_fd=self._folder, dst_dir_fd=self._folder)
