"""
The part of Berth that runs on a node: it plans the launch there and becomes the attempt's shim.

`python -m berth_worker.slurm.node RUN_DIR`, as the batch process of a Slurm job. Only the node
knows which GPUs Slurm gave it, so the command is rewritten here, with the numbers that
CUDA_VISIBLE_DEVICES holds. The process ends as the job did, so that Slurm's record agrees with the
exit record.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from berth import jobfiles
from berth.commands import ALONE, Gang
from berth.protocol.base import utc_now
from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import DesiredAttempt, ExitRecord, LeasedGpu
from berth.protocol.states import FenceKind
from berth_worker.fence import Fence
from berth_worker.launch import HostContext, LaunchError
from berth_worker.launch.plan import LaunchPlan, plan
from berth_worker.shim import files, self_setup
from berth_worker.shim.supervise import Shim
from berth_worker.slurm import hostlist
from berth_worker.slurm.placed import PLACED, uuid

_FAILED = 1


def main(run_dir: str) -> int:
    """Run the attempt of a run directory; return its exit code."""
    folder = files.open_folder(run_dir)
    if exists(folder, "started"):
        return 0  # an earlier run of the same job has it, or it was stopped before its start
    os.umask(0o022)
    desired = read_spec(folder)
    held = held_here(desired)
    try:
        launch_plan = plan_here(desired, held, port=free_port() if held else None)
    except LaunchError as error:
        return _refuse(folder, desired, str(error))
    files.replace(folder, PLACED, as_json(held))
    # A duplicate of this job may plan at the same moment: each has a file of its own.
    name = f"launch-{slurm_job()}.json"
    write_orders(folder, name, desired, launch_plan, {"slurm_job": slurm_job()})
    shim = Shim(self_setup.ready(), None)
    shim.run(f"{run_dir}/{name}", -1)
    return end_alike(shim.status)


def read_spec(folder: int) -> DesiredAttempt:
    """Return what the attempt of an open run directory is to do."""
    return DesiredAttempt.model_validate_json(
        files.read_small(folder, "spec.json", most_bytes=64 << 20)
    )


def slurm_job() -> int | None:
    """Return the id of the Slurm job that this process belongs to."""
    number = os.environ.get("SLURM_JOB_ID", "")
    return int(number) if number.isdecimal() else None


def plan_here(
    desired: DesiredAttempt, held: tuple[LeasedGpu, ...], *, port: int | None, gang: Gang = ALONE
) -> LaunchPlan:
    """Plan the launch for the GPUs of this node. Raises LaunchError."""
    visible = _numbers(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    if len(held) != len(visible):
        visible = tuple(gpu.index for gpu in held)
    # To the plan an index is CUDA's number; the UUID keeps the node's own.
    gpus = tuple(
        gpu.model_copy(update={"index": number}) for gpu, number in zip(held, visible, strict=True)
    )
    here = desired.model_copy(update={"gpus": gpus, "master_port": port})
    fence = Fence(
        kind=FenceKind.ADVISORY,
        can_mask=False,
        user_namespace=False,
        drop_capabilities=(),
        simulated=not Path("/dev/nvidiactl").exists(),
        sentence="",
    )
    found = plan(here, HostContext(_local(), fence, _views(gpus), os.environ, gang=gang))
    found.launch["env"]["SLURM_JOB_ID"] = os.environ.get("SLURM_JOB_ID", "")
    return found


def write_orders(
    folder: int, name: str, desired: DesiredAttempt, found: LaunchPlan, more: dict[str, Any]
) -> None:
    """Write the launch orders for the shim, and the files that the command needs."""
    for other, content in found.files.items():
        files.replace(folder, other, content)
    orders = found.launch | {
        "token": desired.token,
        "files": jobfiles.FOLDER,
        "facts": found.facts.model_dump(mode="json"),
    }
    files.replace(folder, name, json.dumps(orders | more).encode(), mode=0o600)


def as_json(gpus: tuple[LeasedGpu, ...]) -> bytes:
    """Return the content of `placed.json`."""
    return json.dumps([gpu.model_dump() for gpu in gpus]).encode()


def held_here(desired: DesiredAttempt) -> tuple[LeasedGpu, ...]:
    """Return the GPUs that Slurm gave this job on this node, by the node's own indices."""
    if not desired.gpus:
        return ()
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    numbers = sorted(hostlist.indices(os.environ.get("SLURM_JOB_GPUS", "")))
    return tuple(LeasedGpu(uuid=uuid(node, n), index=n, minor=None) for n in numbers)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip().isdecimal())


def _views(gpus: tuple[LeasedGpu, ...]) -> tuple[GpuSnapshot, ...]:
    return tuple(
        GpuSnapshot(uuid=gpu.uuid, index=gpu.index, name="", memory_total_bytes=0) for gpu in gpus
    )


def free_port() -> int:
    """Return a free port of this node for the ranks' rendezvous."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _local() -> Path:
    """Return this user's folder on the node's own disk, for what compilers lock and cache."""
    folder = Path(tempfile.gettempdir()) / f"berth-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def claim(folder: int, desired: DesiredAttempt, me: dict[str, Any]) -> bool:
    """Claim an attempt for this process; return False when another has it."""
    mine = me | {"attempt": desired.attempt, "token": desired.token, "slurm_job": slurm_job()}
    try:
        files.claim(folder, mine)
    except files.AlreadyStartedError:
        return False
    return True


def _refuse(folder: int, desired: DesiredAttempt, sentence: str) -> int:
    """Record in log and exit record that the job cannot be started here."""
    if not claim(folder, desired, self_setup.ready()):
        return 0
    record = ExitRecord(
        attempt=desired.attempt, cause="launch_error", message=sentence, ended_at=utc_now()
    )
    files.replace(folder, "output.log", sentence.encode(errors="replace") + b"\n")
    content = record.model_dump(mode="json") | {"token": desired.token}
    files.replace(folder, "exit.json", json.dumps(content).encode())
    return _FAILED


def end_alike(status: int | None) -> int:
    """Return the job's exit code; die of the signal that its first process died of."""
    if status is None:
        return _FAILED
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    return os.WEXITSTATUS(status)


def exists(folder: int, name: str) -> bool:
    """Return whether an open folder has an entry of a name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
