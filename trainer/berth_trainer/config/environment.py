"""Environment variables that torch, DeepSpeed and their builds read at import."""

import contextlib
import logging
import os
import re
import socket
import sys
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from berth_trainer.training.ranks import Ranks

# An old `accelerate config` reaches every `accelerate launch` through these and would change
# precision, offload or device behind the config file's back.
_FOREIGN = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_")


def prepare(environment: MutableMapping[str, str], ranks: Ranks, *, cores: int) -> None:
    """Set the variables before torch is imported; idempotent."""
    for name in [name for name in environment if name.startswith(_FOREIGN)]:
        del environment[name]
    environment["TOKENIZERS_PARALLELISM"] = "false"
    environment["PYTHONWARNINGS"] = environment.get("PYTHONWARNINGS") or "ignore::FutureWarning"
    environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    # torch takes every core in every rank by default, which makes ranks fight each other.
    if "OMP_NUM_THREADS" not in environment or ranks.local_world_size > cores:
        environment["OMP_NUM_THREADS"] = str(max(1, cores // ranks.local_world_size))
    # DeepSpeed's builds look for ninja on PATH, and a virtual environment's may not be there.
    environment["PATH"] = _with_own_scripts(environment.get("PATH", ""))
    if "TORCH_CUDA_ARCH_LIST" in environment:
        environment["TORCH_CUDA_ARCH_LIST"] = plain_architectures(
            environment["TORCH_CUDA_ARCH_LIST"]
        )
    if simulated(environment):
        environment["CUDA_VISIBLE_DEVICES"] = ""
        environment["DS_ACCELERATOR"] = "cpu"
    if not ranks.launched:
        environment.update(
            RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()),
        )  # fmt: skip


def simulated(environment: Mapping[str, str]) -> bool:
    """Return whether the queue's GPUs are simulated, so that the run must use the CPU."""
    return environment.get("BERTH_DEVICES") == "simulated"


def share_the_cpu_as_equals() -> None:
    """
    Put this rank into a session of its own.

    The kernel's autogroups share the CPU among sessions. torchrun starts each rank in one of
    its own, deepspeed's launcher keeps all in one: of two such runs on a box of CPUs the one
    would get four fifths and the other wait.
    """
    with contextlib.suppress(PermissionError):  # it leads one already
        os.setsid()


def plain_architectures(listed: str) -> str:
    """Strip letters, `9.0a` to `9.0`: DeepSpeed's builds read each entry as a number."""
    return re.sub(r"(\d+\.\d+)[a-z]", r"\1", listed)


def quieten_warnings() -> None:
    """
    Silence warnings that no user can act on. DeepSpeed prints hundreds of FutureWarnings; bitsandbytes,
    where it is installed, misses a kernel of the CPU's in every rank that never needs one.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def quieten_transformers() -> None:
    """
    Hide progress bars of files in a log, where each leaves lines; in a terminal they stay.

    No report of missing weights either: the trainer refuses such a model in one sentence. Nor
    accelerate's note that DeepSpeed's accumulation is used, which is as it should be.
    """
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    # A filter: with the level raised transformers warns of layers that it need not divide.
    for name in ("transformers.modeling_utils", "transformers.trainer_utils", "transformers.trainer",
                 "accelerate.accelerator"):  # fmt: skip
        logging.getLogger(name).addFilter(concerns_the_user)


_UNTOLD = (
    "LOAD REPORT",
    "Gradient accumulation steps mismatch",
    "do not match the ones in the `trainer_state.json`",  # the trainer tells what changed itself
    "recorded in the resumed state does not exist anymore",  # it is looked for beside the others
)


def concerns_the_user(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not any(part in text for part in _UNTOLD)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0))


def _with_own_scripts(path: str) -> str:
    own = str(Path(sys.executable).parent)
    return path if own in path.split(os.pathsep) else os.pathsep.join(part for part in (path, own) if part)  # fmt: skip


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
