"""The header of a script: what its `#SBATCH` and `#BERTH` lines ask for."""

from __future__ import annotations

import functools
import shlex
from dataclasses import dataclass, field

from berth.commands.errors import CommandError
from berth.commands.headers import berth_options, slurm_options
from berth.commands.headers.array import TaskArray
from berth.commands.headers.option import Option, split_options

_SLURM, _BERTH = "#SBATCH", "#BERTH"


@dataclass(frozen=True, kw_only=True)
class BatchHeader:
    """Wishes about the job from a script's own lines."""

    fields: dict[str, object] = field(default_factory=dict[str, object])
    """Fields of a job, spelled as in a job file; a folder may be relative, a start time like
    22:00 or 2h."""
    array: TaskArray | None = None
    """The tasks of `--array`."""
    notes: tuple[str, ...] = ()
    """A sentence for each line that has no meaning here."""
    is_slurm: bool = False
    """True if it has `#SBATCH` lines."""
    found: bool = False
    """True if it has any."""


@functools.lru_cache(maxsize=256)
def read_header(script: str) -> BatchHeader:
    """
    Read the header of a script; it ends, as in Slurm, at the first command.

    `#BERTH` lines win over `#SBATCH` lines. Raises CommandError, one sentence, for a line that
    asks for what cannot be left out (other machines, an unknown dependency).
    """
    slurm, berth = _lines(script, _SLURM), _lines(script, _BERTH)
    if not slurm and not berth:
        return BatchHeader()
    asked = slurm_options.read(slurm)
    own = berth_options.read(berth)
    fields = {**asked.fields, **own}
    for key in ("env", "labels"):
        if key in asked.fields and key in own:
            fields[key] = {**_mapping(asked.fields[key]), **_mapping(own[key])}
    return BatchHeader(
        fields=fields,
        array=asked.array,
        notes=tuple(dict.fromkeys(asked.notes)),
        is_slurm=bool(slurm),
        found=True,
    )


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _lines(script: str, mark: str) -> list[Option]:
    if mark not in script:
        return []
    options: list[Option] = []
    for raw in script.splitlines():
        line = raw.strip()
        if line and not line.startswith("#"):
            break
        if raw.startswith(mark) and raw[len(mark) : len(mark) + 1] in {" ", "\t"}:
            options += _options(raw[len(mark) :], mark)
    return options


def _options(text: str, mark: str) -> list[Option]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        raise CommandError(
            f"A quote of the line `{mark}{text}` is never closed; close it."
        ) from None
    return split_options(words, mark)
