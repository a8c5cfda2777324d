"""Berth's state folder: which one applies to this user, and the paths under it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

DAEMONS = ("server", "worker")


class Home(NamedTuple):
    """The paths under one state folder."""

    folder: Path

    @property
    def run(self) -> Path:
        """Socket and pid files."""
        return self.folder / "run"

    @property
    def runs(self) -> Path:
        """Run directories of the attempts."""
        return self.folder / "runs"

    @property
    def socket(self) -> Path:
        """The REST interface of this box."""
        return self.run / "berth.sock"

    @property
    def worker_socket(self) -> Path:
        """The same for the worker alone, open to the daemons' user."""
        return self.run / "worker.sock"

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "berth.toml"

    @property
    def database(self) -> Path:
        """The server's database."""
        return self.folder / "berth.db"

    @property
    def supervisor_pid(self) -> Path:
        """Identity of the process that keeps the daemons running; locked while it does."""
        return self.run / "up.pid"

    @property
    def supervisor_state(self) -> Path:
        """Restart counts of the daemons, for `berth status` and `berth up`."""
        return self.run / "up.json"

    def pid(self, daemon: str) -> Path:
        """Identity of a daemon, written and locked by itself."""
        return self.run / f"{daemon}.pid"

    def log(self, daemon: str) -> Path:
        """The stderr of a daemon."""
        return self.folder / "log" / f"{daemon}.log"

    def make(self) -> None:
        """Make the folders, open for others to pass through to the socket. Raises OSError."""
        for folder in (self.folder, self.run, self.runs, self.folder / "log"):
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                # Independent of the caller's umask: the socket is for every user of the box.
                folder.chmod(0o755)


BOX_HOME = Home(Path("/var/lib/berth"))
"""The home of a Berth that root runs for every user of the box."""


def resolve() -> Home:
    """
    Return the home of this user, whether it exists or not.

    `BERTH_HOME`, else `/var/lib/berth` for root, else `berth` in the XDG data home.
    """
    chosen = os.environ.get("BERTH_HOME")
    if chosen:
        return Home(Path(chosen).expanduser().absolute())
    if os.geteuid() == 0:
        return BOX_HOME
    data = os.environ.get("XDG_DATA_HOME")
    return Home((Path(data) if data else Path.home() / ".local" / "share") / "berth")
