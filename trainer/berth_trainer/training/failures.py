"""Diagnosis of a failed run, in one sentence that says what to change."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Failure:
    """A diagnosed failure; `kind` is one of the queue's outcomes."""

    kind: str
    sentence: str


_GPU = re.compile(r"CUDA out of memory|CUDA error: out of memory|memory mapping failed with OOM")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK = re.compile(
    r"No space left on device|Disk quota exceeded|unexpected pos \d+ vs|basic_ios::clear: iostream error"
)


def diagnose(error: BaseException, settings: Settings) -> Failure | None:
    """Recognise an error that the user can fix; None for any other."""
    text = f"{type(error).__name__}: {error}"
    if _GPU.search(text) or type(error).__name__ == "OutOfMemoryError":
        return Failure("oom_gpu", f"The GPU's memory is full: {_less_memory(settings)}.")
    if _DISK.search(text) or (isinstance(error, OSError) and error.errno in _FULL):
        return Failure(
            "disk_full",
            "The disk or your quota is full: free space, or lower training.save_total_limit, then start again "
            "with --resume.",
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text:
        return Failure(
            "oom_host",
            "The machine's memory is full: use more GPUs, or set deepspeed.offload_param and "
            "deepspeed.offload_optimizer to none where the GPUs have room.",
        )
    return None


def note(failure: Failure, run_dir: str | None) -> None:
    """Write the diagnosis to the run directory, where the queue reads it; keep the first one."""
    if not run_dir:
        return
    path = Path(run_dir) / "failure.json"
    if path.exists():
        return
    try:
        write_json(path, {"kind": failure.kind, "sentence": failure.sentence})
    except OSError as error:
        print(f"{path} cannot be written: {os.strerror(error.errno or 0)}", flush=True)


def _less_memory(settings: Settings) -> str:
    """Return what to change: first a step that keeps the global batch, then the other settings."""
    training, zero = settings.training, settings.deepspeed
    steps: list[str] = []
    if training.batch_size > 1:
        half = training.batch_size // 2
        more = training.gradient_accumulation_steps * training.batch_size // half
        steps.append(
            f"set training.batch_size to {half} and training.gradient_accumulation_steps to "
            f"{more} (the same global batch)"
        )
    if not training.gradient_checkpointing:
        steps.append("set training.gradient_checkpointing to true")
    if zero.offload_optimizer == "none":
        steps.append("set deepspeed.offload_optimizer to cpu")
    if zero.stage == 3 and zero.offload_param == "none":
        steps.append("set deepspeed.offload_param to cpu")
    if zero.stage < 3:
        steps.append("set deepspeed.stage to 3")
    steps.append(f"lower training.max_length (now {training.max_length})")
    steps.append("use more GPUs")
    return ", or ".join(steps)
