"""The files of a Berth home that the daemons' keeper knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("server", "worker")


@dataclass(frozen=True)
class Home:
    """Where things lie under BERTH_HOME."""

    folder: Path

    @property
    def run(self) -> Path:
        """Socket and pid files."""
        return self.folder / "run"

    @property
    def socket(self) -> Path:
        """The REST interface of this box."""
        return self.run / "berth.sock"

    @property
    def keeper_pid(self) -> Path:
        """Identity of the process that keeps the daemons running; locked while it does."""
        return self.run / "up.pid"

    @property
    def keeper_state(self) -> Path:
        """How often each daemon had to be started, for `berth status` and `berth up`."""
        return self.run / "up.json"

    def pid(self, daemon: str) -> Path:
        """Identity of a daemon, written by itself."""
        return self.run / f"{daemon}.pid"

    def log(self, daemon: str) -> Path:
        """What a daemon writes to stderr."""
        return self.folder / "log" / f"{daemon}.log"

    def make(self) -> None:
        """
        Make the folders that daemons and keeper need, so that others may pass to the socket.

        Raises OSError.
        """
        for folder in (self.folder, self.run, self.folder / "log"):
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                # Whatever the umask of whoever starts it: the socket is for the whole box.
                folder.chmod(0o755)
