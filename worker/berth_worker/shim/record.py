"""The last word on an attempt, `exit.json`, which a full disk must not swallow."""
# pathlib is left out: see files.py.
# ruff: noqa: PTH104

from __future__ import annotations

import contextlib
import os
import time

from berth_worker.shim import files

_BYTES = 4096
_GIVE_UP_S = 600.0


class Record:
    """Where the end of one attempt is written down."""

    def __init__(self, folder: str) -> None:
        """`folder` is the run directory."""
        self._path = f"{folder}/exit.json"
        self._held = -1

    def hold_space(self) -> None:
        """Take the space on the disk that the record will need; on a full one there is none."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            held = os.open(f"{self._path}.part", flags, 0o644)
            try:
                os.write(held, b" " * _BYTES)
            except OSError:
                os.close(held)
                raise
            self._held = held

    def write(self, text: bytes) -> bool:
        """
        Write it, trying again for ten minutes while the disk does not take it; False when it
        never did.
        """
        deadline = time.monotonic() + _GIVE_UP_S
        while not self._is_written(text):
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
        return True

    def _is_written(self, text: bytes) -> bool:
        try:
            self._put(text)
        except FileNotFoundError:
            pass  # the run directory is gone: nobody wants to know
        except OSError:
            self._held = -1
            return False
        return True

    def _put(self, text: bytes) -> None:
        if self._held < 0 or len(text) > _BYTES:
            files.replace(self._path, text)
            return
        os.pwrite(self._held, text, 0)
        os.ftruncate(self._held, len(text))
        os.rename(f"{self._path}.part", self._path)
