"""Signs that a command wants several GPUs which Berth cannot be sure of: reported, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from berth.commands.words import Word

_COUNT = re.compile(
    r"(?:--?|\+)?(?:[\w.]+\.)?"
    r"(?:n[_-]?gpus?(?:[_-]per[_-]node)?|num[_-]gpus|gpus?|gpus[_-]per[_-]node|ngpus?|devices"
    r"|nproc(?:[_-]per[_-]node)?|num[_-]processes|world[_-]size|np"
    r"|tensor[_-](?:model[_-])?parallel[_-]size|tp[_-]size|tp|tensor[_-]parallel)",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"(\d+)|\[?\d+(?:,\s*\d+)+\]?")


def flag_like(arguments: Sequence[Word]) -> str | None:
    """The first argument that reads like a number of GPUs above one, as it was written."""
    for at, each in enumerate(arguments):
        written, equals, value = each.text.partition("=")
        if not _COUNT.fullmatch(written) or not (equals or each.startswith("-")):
            continue
        if not equals:
            value = arguments[at + 1].text if at + 1 < len(arguments) else ""
        found = _SEVERAL.fullmatch(value)
        if found and (found.group(1) is None or 1 < int(found.group(1)[:9]) <= 1024):
            return each.raw if equals else f"{each.raw} {arguments[at + 1].raw}"
    return None


def note_flag(said: str) -> str:
    """The note for an argument that may be a number of GPUs."""
    return (
        f"`{said}` may be a number of GPUs, which Berth cannot know; the job gets one unless it "
        "sets `gpus` (--gpus N)."
    )


def note_visible(said: str) -> str:
    """The note for a CUDA_VISIBLE_DEVICES whose number of GPUs cannot be read."""
    return (
        f"{said} does not say how many GPUs there are; the job gets one unless it sets `gpus` "
        "(--gpus N) or lists them with commas, like CUDA_VISIBLE_DEVICES=0,1,2,3."
    )


HIDDEN_VISIBLE = (
    "CUDA_VISIBLE_DEVICES is set where only the shell can know how many GPUs are meant; the job "
    "gets one unless it sets `gpus` (--gpus N)."
)
