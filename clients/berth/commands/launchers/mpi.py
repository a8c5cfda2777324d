"""
MPI and Horovod, `mpirun -np 4 python train.py` and `horovodrun -np 4 python train.py`.

Their ranks read MPI's own variables, and all of them see all GPUs of the job: the count is read,
the command stays as it is.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading
from berth.commands.errors import CommandError
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers import flags
from berth.commands.launchers.known import KnownLauncher, Surroundings, unchanged
from berth.protocol.states import Launcher

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_NUMBER = ("-np", "--np", "-n", "--n", "-c", "--num-proc")


def _own(call: Call) -> tuple[str, GpuRequest]:
    """The hosts that are named, and the number of ranks."""
    words = call.parsed.arguments
    hosts = flags.first(words, "-H", "-host", "--host", "--hosts")
    number = flags.first(words, *_NUMBER)
    asked = gpu_request.count(number.value, number.said) if number else GpuRequest()
    return (hosts.value if hosts else ""), asked


def _read(call: Call, _around: Surroundings) -> FlagReading:
    hosts, request = _own(call)
    names = {host.partition(":")[0] for host in hosts.split(",") if host}
    if names - _HERE:
        raise CommandError(
            f"{call.program[-1].text} names the machines {hosts}, but Berth runs on this box "
            "only; leave them out."
        )
    name = call.program[-1].raw
    warning = (
        f"Berth cannot adjust the ranks that `{name}` starts: each of them sees all GPUs of the "
        "job and has to take its own by its local rank."
    )
    return FlagReading(request=request, warnings=(warning,))


MPI = KnownLauncher(
    launcher=Launcher.MPI,
    name="mpirun",
    programs=frozenset({"mpirun", "mpiexec", "mpiexec.hydra", "orterun"}),
    settles="-np N",
    starts="starts the ranks that -np says",
    count="`-np`; without it one rank for each core",
    port="none of its own; scripts that call torch.distributed read MASTER_PORT",
    ends="TERM reaches all ranks; exit code is the first failed rank's",
    read=_read,
    rewrite=unchanged,
)
HOROVOD = KnownLauncher(
    launcher=Launcher.HOROVOD,
    name="horovodrun",
    programs=frozenset({"horovodrun"}),
    settles="-np N",
    starts="starts the ranks that -np says",
    count="`-np`",
    port="ones that it finds free itself",
    ends="as mpirun, or by its own driver with gloo",
    read=_read,
    rewrite=unchanged,
)
