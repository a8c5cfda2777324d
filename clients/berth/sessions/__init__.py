"""
Terminals of jobs, and commands beside them: `host` is the program of such a job, `attached` the terminal of whoever looks on.

The two speak over a unix socket in the run directory, as the job's user. No daemon is between: a
session outlives the daemons, and the connection from which it was started.
"""

from pathlib import Path

SOCKET = "terminal.sock"
"""In the folder that the job may write to."""


def through(descriptor: int, name: str = SOCKET) -> str:
    """Return a path of a socket in an open folder: one that is never too long for a socket."""
    return str(Path(f"/proc/self/fd/{descriptor}") / name)
