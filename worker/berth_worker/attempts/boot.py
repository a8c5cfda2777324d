"""Record of the boot that a worker of this home last reported in, kept on disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from berth.daemons.identity import boot_id


class BootNote:
    """
    A file with a boot id.

    It changes only after a worker has reported in the new boot. Until then every worker sees that
    the box was restarted, even if workers are killed meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. A home without one is new: nothing can have been lost there."""
        self._path = path
        self._now = boot_id()
        try:
            noted = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            noted = ""
        self.is_new = bool(noted) and noted != self._now
        """True when the box was restarted since the last report."""
        self._is_due = noted != self._now

    def save(self) -> None:
        """Record the present boot durably, after a report was accepted."""
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
