"""`$BERTH_HOME/simulated.json`: outsiders, faults and loads of the simulated GPUs."""

from __future__ import annotations

from pathlib import Path

import structlog
from pydantic import Field, ValidationError

from berth.protocol.base import Bytes, Wire

NAME = "simulated.json"
_log = structlog.get_logger(__name__)


class SimulatedOutsider(Wire):
    """A process on a GPU that does not belong to the queue."""

    gpu: int = Field(ge=0)
    pid: int = Field(default=4242, ge=1)
    user: str | None = "bob"
    command: str | None = "python train.py"
    memory: Bytes = 31 * 1024**3


class SimulatedFault(Wire):
    """A fault that makes a GPU unfit for jobs."""

    gpu: int = Field(ge=0)
    sentence: str = "Xid 79: the GPU has fallen off the bus; reboot the box."


class SimulatedLeftover(Wire):
    """Memory in use on a GPU that no process explains."""

    gpu: int = Field(ge=0)
    memory: Bytes = 2 * 1024**3


class SimulatedLoad(Wire):
    """Memory, utilisation and power that a GPU shows while a job is on it."""

    gpu: int = Field(ge=0)
    memory: Bytes = 61 * 1024**3
    utilization: int = Field(default=96, ge=0, le=100)
    power: float | None = Field(default=None, ge=0)
    """Watts; default: what such a utilisation usually takes."""


class SimulatedUse(Wire):
    """GPU memory that a job's process, or the process with a pid, holds on each GPU."""

    job: int | None = Field(default=None, ge=1)
    pid: int | None = Field(default=None, ge=1)
    memory: Bytes


class Simulation(Wire):
    """Content of the file: every list may be left out; a missing file counts as empty."""

    outsiders: tuple[SimulatedOutsider, ...] = ()
    faults: tuple[SimulatedFault, ...] = ()
    leftovers: tuple[SimulatedLeftover, ...] = ()
    loads: tuple[SimulatedLoad, ...] = ()
    uses: tuple[SimulatedUse, ...] = ()
    mig: tuple[int, ...] = ()
    """Indices of the GPUs with MIG mode on."""


class SimulationFile:
    """Reader of the file, which reads it again whenever it has changed."""

    def __init__(self, home: Path) -> None:
        self._path = home / NAME
        self._seen: tuple[int, int, int] | None = None
        self._file = Simulation()

    def read(self) -> Simulation:
        """Return the present content. An invalid file is logged and changes nothing."""
        try:
            stat = self._path.stat()
        except OSError:
            self._seen = None
            self._file = Simulation()
            return self._file
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen == self._seen:
            return self._file
        self._seen = seen
        try:
            self._file = Simulation.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            _log.warning(
                "the file of the simulated GPUs cannot be read and is ignored",
                action="simulated.control",
                path=str(self._path),
                problem=_problem(error),
            )
        return self._file


def _problem(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
