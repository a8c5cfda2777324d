"""Options of the Slurm executor: the table `[slurm]` of berth.toml."""

from __future__ import annotations

import re
import shlex

from pydantic import BaseModel, ConfigDict, field_validator

from berth.units import parse_size


class SlurmOptions(BaseModel):
    """Options of a site."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    args: tuple[str, ...] = ()
    """Arguments that every sbatch gets, like `--partition=gpu` or `--account=lab`."""
    python: str | None = None
    """Interpreter that has Berth on every node and that every user may run; default: the
    worker's own, which then lies on a disk that the nodes share."""
    gpu_memory: str | None = None
    """Memory of each GPU; needed where the type in gres.conf names no model that Berth knows."""

    @field_validator("args", mode="before")
    @classmethod
    def _as_words(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @field_validator("gpu_memory")
    @classmethod
    def _is_size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_size(value)
        return value

    @property
    def partition(self) -> str | None:
        """The partition that the arguments name; None where they name none or several."""
        text = " ".join(self.args)
        found = re.search(r"(?:--partition[= ]|-p ?)([^\s,]+)(?=\s|$)", text)
        return found[1] if found else None
