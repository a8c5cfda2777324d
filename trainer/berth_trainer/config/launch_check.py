"""Check that the launcher fits the GPUs that were asked for."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from berth_trainer.config.arguments import Arguments
from berth_trainer.errors import UserError
from berth_trainer.training.ranks import Ranks, warn

_OWN_FLAGS = ("--gpu_ids", "--gpu-ids", "--max_gpus", "--max-gpus")


def check_launch(
    arguments: Arguments, ranks: Ranks, argv: Sequence[str], launcher: Sequence[str] = ()
) -> None:
    """
    Raise UserError with the command to type where several GPUs lack a launcher.

    `launcher` is the command line of the process that started this one: accelerate starts a
    single process without rank variables where it sees no GPU.
    """
    asked, of_accelerate = arguments.asked_gpus, processes_asked_of_accelerate(launcher)
    if ranks.launched:
        return
    if of_accelerate is not None and max(of_accelerate, asked or 0) > 1:
        wanted = max(of_accelerate, asked or 0)
        rest = shlex.join(_without_gpu_flags(argv))
        raise UserError(
            f"accelerate started one process instead of {wanted}, because it sees no GPU here: use "
            f"a machine with GPUs, or on CPUs alone `torchrun --nproc-per-node={wanted} {rest}`."
        )
    if asked is None or asked < 2:
        return
    chosen = (arguments.gpu_ids or tuple(range(asked)))[:asked]
    rest = shlex.join(_without_gpu_flags(argv))
    include = ",".join(str(index) for index in chosen)
    raise UserError(
        f"{asked} GPUs need a launcher that starts one process for each: type "
        f"`berth submit -- deepspeed --num_gpus={asked} {rest}`, or without the queue "
        f"`deepspeed --include localhost:{include} {rest}`."
    )


def visible_gpus(arguments: Arguments, ranks: Ranks, environment: Mapping[str, str]) -> str | None:
    """
    Return CUDA_VISIBLE_DEVICES for `--gpu_ids` outside the queue; None where it is right already.

    torchrun and accelerate start their ranks on the first GPUs, whichever the script asks for: two
    runs with `--gpu_ids 0,1` and `--gpu_ids 2,3` would share two. Raises UserError where the
    launcher has chosen others.
    """
    ids = [str(number) for number in arguments.gpu_ids or ()]
    if not ids or "BERTH_ATTEMPT" in environment:
        return None
    if not ranks.launched:
        return ids[0]
    given = environment.get("CUDA_VISIBLE_DEVICES")
    shown = [word.strip() for word in (given or "").split(",") if word.strip()]
    if len(ids) < ranks.local_world_size or shown == ids:
        return None
    if given is None or set(ids) <= set(shown):
        return ",".join(ids)
    if not shown or not all(word.isdecimal() for word in shown):
        return None  # hidden altogether, or named by UUID
    raise UserError(
        f"--gpu_ids {','.join(ids)} asks for other GPUs than CUDA_VISIBLE_DEVICES {given}, which the "
        "launcher or the shell has set: remove one of them (with deepspeed use "
        f"`--include localhost:{','.join(ids)}`)."
    )


def check_devices(
    arguments: Arguments, ranks: Ranks, *, cuda: bool, seen: int, any_gpu: bool
) -> None:
    """
    Raise UserError where a rank's GPU is not there, before CUDA says so in its own words.

    Warn where a run without a launcher leaves GPUs idle.

    `seen` GPUs are visible to this process; `any_gpu`: the machine has some.
    """
    asked = f" of --gpu_ids {','.join(map(str, arguments.gpu_ids))}" if arguments.gpu_ids else ""
    if cuda and seen < ranks.local_world_size:
        raise UserError(
            f"{ranks.local_world_size} ranks were started and {seen} GPUs{asked} are there: start "
            "as many ranks as there are GPUs, and name GPUs that nvidia-smi lists."
        )
    if cuda and not ranks.launched and seen > 1 and arguments.asked_gpus is None:
        warn(
            f"this run uses one of the {seen} GPUs: a launcher such as `deepspeed --num_gpus={seen}` "
            "starts a process for each."
        )
    if asked and not cuda and any_gpu:
        raise UserError(f"none of the GPUs{asked} is there: name GPUs that nvidia-smi lists.")


def processes_asked_of_accelerate(words: Sequence[str]) -> int | None:
    """Return the `--num_processes` in the command line of an `accelerate launch`; None without."""
    if not any(word.rpartition("/")[2].startswith("accelerate") for word in words[:3]):
        return None
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in {"--num_processes", "--num-processes"}:
            value = value or "".join(words[place + 1 : place + 2])
            return int(value) if value.isdecimal() else None
    return None


def parent_command() -> list[str]:
    """Return the command line of the process that started this one; empty where it is unknown."""
    try:
        text = Path(f"/proc/{os.getppid()}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return []
    return text.split("\0")


def _without_gpu_flags(argv: Sequence[str]) -> list[str]:
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in _OWN_FLAGS:
            next(words, None)
        elif not word.startswith(tuple(f"{flag}=" for flag in _OWN_FLAGS)):
            kept.append(word)
    return kept
