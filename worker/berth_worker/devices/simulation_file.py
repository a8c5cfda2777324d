"""`$BERTH_HOME/simulated.json`: what shall be wrong with the simulated GPUs."""

from __future__ import annotations

from pathlib import Path

import structlog
from pydantic import Field, ValidationError

from berth.protocol.base import Bytes, Wire

NAME = "simulated.json"
_log = structlog.get_logger(__name__)


class SimulatedOutsider(Wire):
    """A process on a GPU that the queue knows nothing of."""

    gpu: int = Field(ge=0)
    pid: int = Field(default=4242, ge=1)
    user: str | None = "bob"
    command: str | None = "python train.py"
    memory: Bytes = 31 * 1024**3


class SimulatedFault(Wire):
    """Something that makes a GPU unfit for jobs."""

    gpu: int = Field(ge=0)
    sentence: str = "Xid 79: the GPU has fallen off the bus; reboot the box."


class SimulatedLeftover(Wire):
    """Memory in use on a GPU that no process explains."""

    gpu: int = Field(ge=0)
    memory: Bytes = 2 * 1024**3


class SimulatedLoad(Wire):
    """What a GPU shows while a job is on it, instead of what the job uses of the host."""

    gpu: int = Field(ge=0)
    memory: Bytes = 61 * 1024**3
    utilization: int = Field(default=96, ge=0, le=100)


class SimulatedUse(Wire):
    """How much GPU memory a job's process, or the process with a pid, holds on each card."""

    job: int | None = Field(default=None, ge=1)
    pid: int | None = Field(default=None, ge=1)
    memory: Bytes


class Control(Wire):
    """The control file: every list may be left out; a missing file is an empty one."""

    outsiders: tuple[SimulatedOutsider, ...] = ()
    faults: tuple[SimulatedFault, ...] = ()
    leftovers: tuple[SimulatedLeftover, ...] = ()
    loads: tuple[SimulatedLoad, ...] = ()
    uses: tuple[SimulatedUse, ...] = ()
    mig: tuple[int, ...] = ()
    """Indices of the GPUs with MIG mode on."""


class ControlFile:
    """Reads the control file again whenever it has changed."""

    def __init__(self, home: Path) -> None:
        self._path = home / NAME
        self._seen: tuple[int, int, int] | None = None
        self._control = Control()

    def read(self) -> Control:
        """What the file says now. A broken file is logged and changes nothing."""
        try:
            stat = self._path.stat()
        except OSError:
            self._seen = None
            self._control = Control()
            return self._control
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen == self._seen:
            return self._control
        self._seen = seen
        try:
            self._control = Control.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            _log.warning(
                "the control file of the simulated GPUs cannot be read and is left aside",
                action="simulated.control",
                path=str(self._path),
                problem=_problem(error),
            )
        return self._control


def _problem(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
