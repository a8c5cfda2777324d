"""Plan of a launch on the node where it happens, and the records that the node writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
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
from berth_worker.launch import HostContext
from berth_worker.launch.plan import LaunchPlan, plan
from berth_worker.shim import files, self_setup
from berth_worker.slurm import hostlist
from berth_worker.slurm.on_node.usage import Usage
from berth_worker.slurm.placed import uuid

_FAILED = 1


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
    visible = visible_numbers(held)
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
    node = node_name()
    numbers = sorted(hostlist.indices(os.environ.get("SLURM_JOB_GPUS", "")))
    return tuple(LeasedGpu(uuid=uuid(node, n), index=n, minor=None) for n in numbers)


def visible_numbers(held: tuple[LeasedGpu, ...]) -> tuple[int, ...]:
    """Return the numbers by which CUDA knows GPUs on this node, as Slurm told."""
    visible = _numbers(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return visible if len(held) == len(visible) else tuple(gpu.index for gpu in held)


def usage(folder: int, rank: int, held: tuple[LeasedGpu, ...]) -> Usage:
    """Return the writer of this node's signs of life."""
    numbers = visible_numbers(held)
    return Usage(folder, rank, {gpu.uuid: n for gpu, n in zip(held, numbers, strict=True)})


def node_name() -> str:
    """Return the name that Slurm has for this node."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def address() -> str:
    """Return an address of this node that the other nodes can reach."""
    name = os.environ.get("SLURMD_NODENAME", "")
    try:
        said = subprocess.run(
            ["scontrol", "-o", "show", "node", name],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    found = [word.partition("=")[2] for word in said.split() if word.startswith("NodeAddr=")]
    return found[0] if found else name or socket.gethostname()


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


def claimed_by(folder: int) -> int | None:
    """Return the Slurm job that has claimed the attempt; None while none has."""
    try:
        claim = json.loads(files.read_small(folder, "started", 65536) or b"{}")
    except (OSError, ValueError):
        return None
    number = claim.get("slurm_job") if isinstance(claim, dict) else None
    return number if isinstance(number, int) else None


def claim(folder: int, desired: DesiredAttempt, me: dict[str, Any]) -> bool:
    """Claim an attempt for this process; return False when another has it."""
    mine = me | {"attempt": desired.attempt, "token": desired.token, "slurm_job": slurm_job()}
    try:
        files.claim(folder, mine)
    except files.AlreadyStartedError:
        return False
    return True


def refuse(folder: int, desired: DesiredAttempt, sentence: str) -> int:
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


def exists(folder: int, name: str) -> bool:
    """Return whether an open folder has an entry of a name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
