"""Check that the launcher fits the GPUs that were asked for."""

import shlex
from collections.abc import Mapping, Sequence

from berth_trainer.config.arguments import Arguments
from berth_trainer.errors import UserError
from berth_trainer.training.ranks import Ranks

_OWN_FLAGS = ("--gpu_ids", "--gpu-ids", "--max_gpus", "--max-gpus")


def check_launch(arguments: Arguments, ranks: Ranks, argv: Sequence[str]) -> None:
    """Raise UserError with the command to type where several GPUs lack a launcher."""
    asked = arguments.asked_gpus
    if ranks.launched or asked is None or asked < 2:
        return
    chosen = (arguments.gpu_ids or tuple(range(asked)))[:asked]
    rest = shlex.join(_without_gpu_flags(argv))
    include = ",".join(str(index) for index in chosen)
    raise UserError(
        f"{asked} GPUs need a launcher that starts one process for each: type "
        f"`berth submit -- deepspeed --num_gpus={asked} {rest}`, or without the queue "
        f"`deepspeed --include localhost:{include} {rest}`."
    )


def single_gpu(arguments: Arguments, ranks: Ranks, environment: Mapping[str, str]) -> str | None:
    """Return CUDA_VISIBLE_DEVICES for `--gpu_ids 3` without launcher and queue, else None."""
    if ranks.launched or "BERTH_ATTEMPT" in environment or not arguments.gpu_ids:
        return None
    return str(arguments.gpu_ids[0])


def _without_gpu_flags(argv: Sequence[str]) -> list[str]:
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in _OWN_FLAGS:
            next(words, None)
        elif not word.startswith(tuple(f"{flag}=" for flag in _OWN_FLAGS)):
            kept.append(word)
    return kept
