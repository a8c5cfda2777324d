"""File lock for work that one process does and all others wait for."""

import contextlib
import fcntl
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """
    Hold the lock file `path`; a second process waits here.

    Ranks that waited in a barrier instead would die of NCCL's watchdog where the work takes
    longer than its half hour. The kernel releases the lock when its holder dies, so that a
    killed process blocks no other, and other jobs of the machine wait as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
