"""Which boot of the box the server was last told of, kept on the disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from berth.daemons.identity import boot_id


class BootNote:
    """
    A file with the id of a boot.

    It changes only after a worker has reported in the new boot: until then every worker finds
    that the box was restarted, however often it is killed meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Reads the note. A home without one is new: nothing can have been lost there."""
        self._path = path
        self._now = boot_id()
        try:
            noted = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            noted = ""
        self.is_new = bool(noted) and noted != self._now
        """Whether the box was restarted since."""
        self._is_due = noted != self._now

    def take_down(self) -> None:
        """The server knows by now: note the present boot, durably."""
        if not self._is_due:
            return
        part = self._path.with_suffix(".boot.part")
        with contextlib.suppress(OSError):
            with part.open("w", encoding="ascii") as file:
                file.write(self._now + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
            self._is_due = False
