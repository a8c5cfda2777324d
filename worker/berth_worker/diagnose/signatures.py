"""
Failure signatures: patterns in a log, each with its outcome and fix.

In order: causes stand before their consequences, the particular before the general. The texts come from runs with torch 2.11 to 2.13, DeepSpeed 0.19 and transformers 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from berth.protocol.states import Outcome


@dataclass(frozen=True, slots=True)
class Signature:
    """One kind of failure."""

    pattern: re.Pattern[str]
    outcome: Outcome
    sentence: str
    """May hold `{1}`: the pattern's first group."""
    last_word: bool = False
    """Counts only as the decisive line: programs may survive the error and go on."""


def _signature(
    pattern: str, sentence: str, outcome: Outcome = Outcome.EXIT, *, last_word: bool = False
) -> Signature:
    return Signature(re.compile(pattern, re.MULTILINE), outcome, sentence, last_word)


_BATCH_ADVICE = (
    "halve the micro-batch and double the accumulation, turn on checkpointing or a chunked "
    "loss, or take more GPUs (`berth plan` shows what fits)"
)

PORT = _signature(
    r"EADDRINUSE|[Aa]ddress already in use|failed to listen on any local network address"
    r"|on port `?\d+`?, but another process is utilizing it",
    "A port that it opens is taken by another process; let it use MASTER_PORT, which is reserved "
    "for the job, or a port of its own.",
)
"""A port is taken; `verdict` says which."""

SIGNATURES: tuple[Signature, ...] = (
    _signature(
        r"per_process_memory_fraction|memory mapping failed with OOM",
        f"The GPU's memory is full: {_BATCH_ADVICE}.",
        Outcome.OOM_GPU,
    ),
    _signature(
        r"CUDA out of memory\. Tried to allocate ([\d.]+ \w+)",
        "The GPU's memory is full (another {1} was asked for): " + _BATCH_ADVICE + ".",
        Outcome.OOM_GPU,
    ),
    _signature(
        r"CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation",
        (
            "The GPU had no free memory; see with `berth gpus` which processes are on it, or "
            "make the job smaller."
        ),
        Outcome.OOM_GPU,
    ),
    _signature(
        r"unable to allocate shared memory|out of shared memory|Bus error|exitcode\s*:\s*-7\b",
        (
            "The shared memory in /dev/shm is full; use fewer loader workers, or give the "
            "machine or container a larger /dev/shm."
        ),
    ),
    _signature(
        r"No space left on device|Disk quota exceeded|inline_container\.cc.*unexpected pos"
        r"|basic_ios::clear: iostream error",
        "The disk is full; free space or keep fewer checkpoints, then start again.",
        Outcome.DISK_FULL,
    ),
    _signature(
        r"DefaultCPUAllocator: (can't|not enough) |^(\[rank\d+\]: )?MemoryError\b"
        r"|Cannot allocate memory",
        (
            "The box had no free host memory; use less offload or fewer loader workers, "
            "or share it with fewer jobs."
        ),
        Outcome.OOM_HOST,
    ),
    _signature(
        r"No module named '?([\w.]+)",
        (
            "The Python module {1} is missing in the job's environment; install it there, or "
            "choose another environment with 'python'."
        ),
        last_word=True,
    ),
    _signature(
        r"can't open file '?([^'\n]+?)'?: \[Errno 2\]",
        "The script {1} does not exist; correct its path or the job's 'workdir'.",
        last_word=True,
    ),
    PORT,
    _signature(
        r"CUDA error: invalid device ordinal",
        (
            "It used a GPU number beyond those it has; count devices from 0 with LOCAL_RANK, and "
            "request as many GPUs as it starts ranks."
        ),
    ),
    _signature(
        r"Duplicate GPU detected",
        (
            "Two ranks took the same GPU; let each rank use the device of its LOCAL_RANK, and "
            "start no more ranks than the job has GPUs."
        ),
    ),
    _signature(
        r"CUDA error: device-side assert triggered",
        (
            "An index was out of range on the GPU (a token or label beyond the vocabulary); check "
            "the tokenizer, and run it with CUDA_LAUNCH_BLOCKING=1 to see where."
        ),
    ),
    _signature(
        r"No slot '\d+' specified on host|invalid literal for int\(\) with base 10: '(?:GPU|MIG)-",
        "deepspeed was given devices that it cannot parse; leave --include out, Berth sets it.",
    ),
    _signature(
        r"checkpoint being loaded used a DP world size of (\d+)|len\(self\.ckpt_list\) > 0"
        r"|world size of \d+ but the current world size is \d+",
        (
            "The checkpoint was written with another number of GPUs; use the same number, or "
            "convert it to a universal checkpoint (deepspeed.checkpoint.ds_to_universal)."
        ),
    ),
    _signature(
        r"checkpoint-\d+/trainer_state\.json|Can't find a valid checkpoint",
        "The checkpoint to resume from is incomplete; resume from the one before it.",
        last_word=True,
    ),
    _signature(
        r"Check batch related parameters|Please correct the following DeepSpeed config values",
        (
            "The DeepSpeed file and the training arguments disagree about the batch; write "
            '"auto" for every key that both have.'
        ),
    ),
    _signature(
        r"Error building extension|requires the cpu_adam op|'ninja', '-v'",
        (
            "A DeepSpeed extension could not be compiled; install a C++ compiler and ninja, or "
            'set "torch_adam": true in the optimizer.'
        ),
    ),
    _signature(
        r"index 0 is out of bounds for dimension 0 with size 0|size of tensor a \(0\)"
        r"|'weight' must be 2-D",
        (
            "A weight that ZeRO-3 had partitioned was read outside its module; call the module, "
            "or gather the parameter first."
        ),
    ),
    _signature(
        r"Conversation roles must alternate",
        "The chat template refused a dialogue; merge neighbouring turns of one speaker.",
    ),
    _signature(
        r"token_type_ids.{1,3} is required",
        "This model wants token_type_ids in training; send zeros, or update transformers.",
    ),
    _signature(
        r"exitcode\s*:\s*-11\b|return code = -11\b",
        (
            "A rank crashed in native code (SIGSEGV); most often an extension was built for "
            "another torch: rebuild it in this environment."
        ),
    ),
    _signature(
        r"Watchdog caught collective operation timeout|taking the entire process down"
        r"|Timed out waiting \d+ms for (?:recv|send)",
        (
            "The ranks lost each other: one was stuck, slow or dead while the rest waited; look "
            "at the other ranks' lines first, and give every rank the same number of steps."
        ),
        Outcome.STALLED,
    ),
)
