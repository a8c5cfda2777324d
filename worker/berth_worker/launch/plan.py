"""Launch plan of an attempt: everything its shim needs, decided beforehand."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from berth import jobfiles, launcher_files
from berth.commands import (
    ALONE,
    NEUTRAL_ACCELERATE_CONFIG,
    CommandError,
    CommandView,
    Gang,
    LeaseFacts,
    Rewritten,
    Runtime,
    Surroundings,
    read,
    rewrite,
)
from berth.commands.headers import slurm_variables
from berth.protocol.attempts import LaunchFacts
from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import DesiredAttempt
from berth.protocol.states import FenceKind, Launcher
from berth_worker.fence import APPLY, Fence
from berth_worker.launch import as_user, code, environment, sharing
from berth_worker.launch.account import Account, account
from berth_worker.launch.error import LaunchError
from berth_worker.launch.hooks import Hooks
from berth_worker.launch.interpreter import bundled_trainer, resolve

_LONGEST_ARGUMENT_BYTES = 100_000  # the kernel takes 128 KiB
_SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class HostContext:
    """The box that jobs are started on, as the worker knows it."""

    home: Path
    fence: Fence
    gpus: Sequence[GpuSnapshot]
    """All GPUs of the box, as last seen."""
    environment: Mapping[str, str] = field(repr=False)
    """The worker's own environment."""
    pass_environment: tuple[str, ...] = ()
    """Names of it that jobs inherit beside those of `berth.inherited`."""
    hooks: Hooks = field(default_factory=Hooks)
    """Programs of the admin before and after attempts."""
    gang: Gang = ALONE
    """The place of this node in a run over several."""


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """The plan of one start, ready to be written down."""

    launch: dict[str, Any] = field(repr=False)
    """The content of launch.json, facts included."""
    facts: LaunchFacts
    owner: int
    """The uid that may read the files."""
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Files that the command needs in the run directory."""
    code: Path | None = None
    """The user's own folder into which frozen code is unpacked."""


def plan(desired: DesiredAttempt, host: HostContext) -> LaunchPlan:
    """
    Plan the start of an attempt.

    Looks at the file system, writes nothing but cache folders. Raises LaunchError.
    """
    who = account(desired.uid)
    interpreter = resolve(desired.python)
    if desired.snapshot is None:
        _check_folder(desired.workdir)
    masks = _masks(desired, host)
    visible = _visible(desired, host, masks)
    rewritten = _rewrite(desired, host, visible, interpreter.path, who)
    files: dict[str, bytes] = {}
    argv = _argv(desired, rewritten, files)
    frozen = desired.snapshot
    if any(word.endswith("/accelerate.yaml") for word in argv) or (
        rewritten.launcher in {Launcher.ACCELERATE, Launcher.TRL, Launcher.AXOLOTL, Launcher.SHELL}
    ):
        files["accelerate.yaml"] = NEUTRAL_ACCELERATE_CONFIG.encode()

    env = environment.base(host.environment, who, host.pass_environment)
    env["PATH"] = environment.with_interpreter(env["PATH"], interpreter)
    env |= environment.defaults(
        interpreter,
        environment.caches(host.home, who, interpreter),
        len(desired.gpus),
        len(host.gpus),
        simulated=host.fence.simulated,
    )
    env |= sharing.variables(desired, host.gpus, interpreter, who)
    if desired.script is not None:
        env |= slurm_variables(
            desired.script,
            job_id=desired.job_id,
            workdir=desired.workdir,
            gpus=len(desired.gpus),
        )
    env |= desired.env
    env |= rewritten.env
    env |= _reserved(desired, host, visible)
    return LaunchPlan(
        launch={
            "attempt": desired.attempt,
            "argv": argv
            if frozen is None
            else code.unpacking(desired, frozen, interpreter.path, argv),
            "env": env,
            "port": desired.master_port,
            "cwd": desired.workdir if frozen is None else str(code.folder(desired)),
            "uid": who.uid if os.geteuid() == 0 else None,
            "gid": who.gid,
            "groups": list(who.groups),
            "umask": 0o022,
            "fence": {
                "kind": host.fence.kind.value,
                "mask": masks,
                "user_namespace": host.fence.user_namespace,
                "drop_capabilities": list(host.fence.drop_capabilities) if masks else [],
                "apply": str(APPLY),
            },
            "time_limit_s": desired.time_limit.total_seconds() if desired.time_limit else None,
            "warn_before_s": desired.warn_before.total_seconds(),
            "grace_s": desired.grace.total_seconds(),
        },
        facts=_facts(desired, host, rewritten, masks),
        owner=who.uid,
        files=files,
        code=None if frozen is None else code.folder(desired),
    )


def _check_folder(workdir: str) -> None:
    path = Path(workdir)
    if not path.exists():
        raise LaunchError(f"The job's folder {workdir} does not exist on this box; make it first.")
    if not path.is_dir():
        raise LaunchError(f"The job's folder {workdir} is a file; name a folder as 'workdir'.")


def _masks(desired: DesiredAttempt, host: HostContext) -> list[str]:
    fence = host.fence
    if fence.simulated:
        return list(_all_masks(fence))
    return fence.masks(desired.gpus, host.gpus)


@lru_cache(maxsize=1)
def _all_masks(fence: Fence) -> tuple[str, ...]:
    # Listing the real GPUs behind simulated ones is most of a plan's time and never changes.
    return tuple(fence.masks((), ()))


def _visible(desired: DesiredAttempt, host: HostContext, masks: Sequence[str]) -> tuple[int, ...]:
    """Return CUDA's numbers of the leased GPUs: from 0 behind masks, else the box's indices."""
    if masks and not host.fence.simulated:
        return tuple(range(len(desired.gpus)))
    return tuple(gpu.index for gpu in desired.gpus)


def _rewrite(
    desired: DesiredAttempt,
    host: HostContext,
    visible: tuple[int, ...],
    python: str,
    who: Account,
) -> Rewritten:
    try:
        several = host.gang.nodes > 1
        around = Surroundings(desired.env, several_nodes=several)
        asked = (desired.command, desired.script)
        view = read(*asked, around, script_file=desired.script_file)
        if view.config_files:
            # Root would read what the job's user may not, and the rewritten command would tell.
            reading = None if who.uid == os.geteuid() else partial(as_user.text, who)
            found = launcher_files.configs(view.config_files, desired.workdir, reading=reading)
            around = replace(around, configs=found)
            view = read(*asked, around, script_file=desired.script_file)
        if several:
            _check_spans_nodes(view)
        script = view.script_path
        return rewrite(
            view,
            LeaseFacts(
                indices=tuple(gpu.index for gpu in desired.gpus),
                visible=visible,
                port=desired.master_port,
                uuids=tuple(gpu.uuid for gpu in desired.gpus),
                simulated=host.fence.simulated,
                gang=host.gang,
            ),
            Runtime(
                python=python,
                accelerate_config=f"{desired.run_dir}/accelerate.yaml",
                bundled_trainer=bundled_trainer(),
                script_file=f"{desired.run_dir}/{_SCRIPT}",
                script_exists=script is None or _has(desired, script, who),
            ),
        )
    except CommandError as error:
        raise LaunchError(str(error)) from None


def _check_spans_nodes(view: CommandView) -> None:
    if not view.spans_nodes:
        raise LaunchError(
            "Over several nodes Berth starts deepspeed, accelerate and torchrun; write the "
            "command with one of them, or ask for one node."
        )


def _has(desired: DesiredAttempt, script: str, who: Account) -> bool:
    if desired.snapshot is not None:
        return code.has(desired.snapshot, script, who)
    return (Path(desired.workdir) / script).exists()


def _argv(desired: DesiredAttempt, rewritten: Rewritten, files: dict[str, bytes]) -> list[str]:
    """Return the argv; what is too long for one argument, or no shell's, goes into a file."""
    argv = list(rewritten.argv)
    if rewritten.file_text is not None:
        files[_SCRIPT] = rewritten.file_text.encode()
    text = rewritten.script
    if text is None or len(text.encode()) <= _LONGEST_ARGUMENT_BYTES or text not in argv:
        return argv
    files[_SCRIPT] = text.encode()
    argv[argv.index(text)] = f'eval "$(cat {shlex.quote(f"{desired.run_dir}/{_SCRIPT}")})"'
    return argv


def _reserved(
    desired: DesiredAttempt, host: HostContext, visible: tuple[int, ...]
) -> dict[str, str]:
    """Return the variables that override those of the user."""
    owned = {
        "BERTH_JOB_ID": str(desired.job_id),
        "BERTH_ATTEMPT": desired.attempt,
        "BERTH_RUN_DIR": f"{desired.run_dir}/{jobfiles.FOLDER}",
        "BERTH_WORKDIR": desired.workdir,
        "BERTH_GPU_UUIDS": ",".join(gpu.uuid for gpu in desired.gpus),
        "BERTH_GPU_INDICES": ",".join(str(gpu.index) for gpu in desired.gpus),
        "BERTH_DEVICES": "simulated" if host.fence.simulated else "nvml",
        "BERTH_GRACE_S": f"{desired.grace.total_seconds():g}",
        "BERTH_WARN_BEFORE_S": f"{desired.warn_before.total_seconds():g}",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, visible)),
    }
    if desired.share and desired.gpu_memory is not None:
        owned["BERTH_GPU_MEMORY_BYTES"] = str(desired.gpu_memory)
    if desired.snapshot is not None and desired.snapshot.commit is not None:
        owned["BERTH_COMMIT"] = desired.snapshot.commit
    if desired.master_port is not None:
        owned |= {"MASTER_ADDR": host.gang.address, "MASTER_PORT": str(desired.master_port)}
    return owned


def _facts(
    desired: DesiredAttempt, host: HostContext, rewritten: Rewritten, masks: Sequence[str]
) -> LaunchFacts:
    visible = _visible(desired, host, masks)
    whole_box = len(desired.gpus) == len(host.gpus)
    return LaunchFacts(
        launcher=rewritten.launcher,
        before=rewritten.before,
        after=rewritten.after,
        changes=rewritten.changes,
        cuda_visible_devices=",".join(map(str, visible)),
        master_port=desired.master_port,
        fence=host.fence.kind if masks or whole_box else FenceKind.ADVISORY,
    )
