"""Ranks of a run: this process's place, its barrier, and log lines of rank 0."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, TextIO

FAILED = 1  # exit code


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank variables of this process; `launched` is false where no launcher set them."""

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    launched: bool

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def ranks_from(environment: Mapping[str, str]) -> Ranks:
    """Read the variables that deepspeed, torchrun and accelerate set; world size 1 without them."""
    world = _number(environment, "WORLD_SIZE", 1)
    return Ranks(
        rank=_number(environment, "RANK", 0),
        local_rank=_number(environment, "LOCAL_RANK", 0),
        world_size=world,
        # deepspeed's launcher has a name of its own for it.
        local_world_size=_number(
            environment, "LOCAL_WORLD_SIZE", _number(environment, "LOCAL_SIZE", world)
        ),
        launched="WORLD_SIZE" in environment and "RANK" in environment,
    )


def log0(text: str) -> None:
    """Print a line on rank 0, at once: the log is what the user watches."""
    if _is_main():
        _print(text, sys.stdout)


def warn(text: str) -> None:
    """Print a warning line on rank 0."""
    if _is_main():
        _print(f"warning: {text}", sys.stderr)


def tell(text: str) -> None:
    """Print a line on stderr, from whichever rank: only rank 0 knows where its progress bar stands."""
    _print(text if _is_main() else f"\n{text}", sys.stderr)


def barrier() -> None:
    """Wait for every rank; return at once where there is a single process."""
    import torch  # this module is imported before it
    from torch import distributed

    if not distributed.is_initialized():
        return
    if distributed.get_backend() == "nccl":
        distributed.barrier(device_ids=[torch.cuda.current_device()])
    else:
        distributed.barrier()


def world_size() -> int:
    """Return the size of the process group; 1 without one."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_initialized() else 1


def leave(code: int) -> NoReturn:
    """
    Exit without the interpreter's clean-up.

    A normal exit would wait for ranks that wait for this one, and with torch's process groups still
    open it can end in an abort, which turns any exit code into a crash.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _print(text: str, stream: TextIO) -> None:
    """Print a separate line, even while a progress bar occupies the current one."""
    if "tqdm" in sys.modules:  # nothing has drawn a bar before
        from tqdm import tqdm

        tqdm.write(text, file=stream)
    else:
        print(text, file=stream)
    stream.flush()


def _is_main() -> bool:
    return os.environ.get("RANK", "0") in {"", "0"}


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(environment.get(name, ""))
    except ValueError:
        return default
