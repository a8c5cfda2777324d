"""The shim of a node's ranks, as a child of the process that Slurm started."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from berth_worker.shim import self_setup
from berth_worker.shim.supervise import Shim

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class ShimProcess:
    """A running shim; it stops its job when this process is killed."""

    def __init__(self, launch_path: str) -> None:
        """Start it. Call with no thread beside this one."""
        me = os.getpid()
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            signal.set_wakeup_fd(-1)
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            identity = self_setup.ready()
            if os.getppid() != me:
                os.kill(os.getpid(), signal.SIGTERM)
            shim = Shim(identity, None)
            shim.run(launch_path, -1)
            os._exit(end_alike(shim.status))

    def stop(self) -> None:
        """Ask it to end the job, by the terms that lie in its folder."""
        if self._status is None:
            os.kill(self._pid, signal.SIGTERM)

    def ended(self) -> int | None:
        """Return its wait status, which is the job's own; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status


class Overseer:
    """The slurmstepd that watches this process for Slurm; without it Slurm sees nothing of a job."""

    def __init__(self) -> None:
        self._pid = os.getppid()

    @property
    def is_gone(self) -> bool:
        """True once it has been killed: Slurm would go on to call the job running."""
        return os.getppid() != self._pid


class StopRequests:
    """Requests to stop that reach a node by the shared disk, also while Slurm gives no answer."""

    def __init__(self, run_dir: str) -> None:
        self._path = Path(run_dir) / "stop.json"
        self._seen = self._read()

    def is_new(self) -> bool:
        """Return whether one has come, or has changed, since the last call."""
        now = self._read()
        if now is None or now == self._seen:
            return False
        self._seen = now
        return True

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()[:4096]
        except OSError:
            return None


def end_alike(status: int | None) -> int:
    """Return the exit code of a wait status; die of the signal that the process died of."""
    if status is None:
        return 1
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    return os.WEXITSTATUS(status)
