"""The worker's settings: environment over `$BERTH_HOME/berth.toml` over defaults."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from berth.home import Home, resolve
from berth_worker.slurm.options import SlurmOptions


class SettingsError(Exception):
    """A setting is wrong; the message names it and the fix."""


class Settings(BaseModel):
    """The worker's settings. Keys of the server in the same file are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    home: Home
    gpus: str = "auto"
    """`auto`, `nvml`, `sim:8`, `sim:8xH100-80GB`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""
    executor: Literal["local", "slurm"] = "local"
    """Place where jobs run: this box, or the Slurm cluster that it belongs to."""
    slurm: SlurmOptions = SlurmOptions()
    """Options of the Slurm executor, the table `[slurm]`."""
    harmless_programs: tuple[str, ...] = ()
    """Programs (names of their files) that keep a GPU's device open and leave it to jobs, beside
    the known ones: display servers, MPS servers, exporters."""

    pass_environment: tuple[str, ...] = ()
    """Variables of the worker's environment that jobs inherit, beside those of `berth.inherited`."""

    prologue: str | None = None
    """Program that runs before each attempt with GPUs, as the worker's user."""
    epilogue: str | None = None
    """Program that runs after it, before its GPUs are given to others."""
    hook_timeout: float = Field(default=60.0, gt=0)
    """Seconds that each of them may take."""

    @field_validator("prologue", "epilogue")
    @classmethod
    def _program_of_the_admin(cls, value: str | None) -> str | None:
        if value is not None:
            _check_program(Path(value))
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def boot_file(self) -> Path:
        """Record of the boot in which a worker of this home last reported."""
        return self.home.run / "worker.boot"


def load() -> Settings:
    """Read the settings of this user's home. Raises SettingsError."""
    home = resolve()
    values = _read(home.config) | {
        name: value
        for name in ("gpus", "log_level")
        if (value := os.environ.get(f"BERTH_{name.upper()}"))
    }
    try:
        return Settings.model_validate(values | {"home": home})
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            sentence = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"{first['loc'][0]} is {first['input']!r}; {sentence}.") from None
        expected = first.get("ctx", {}).get("expected", first["type"].partition("_")[0])
        raise SettingsError(f"{first['loc'][0]} is {first['input']!r}; write {expected}.") from None


def _check_program(path: Path) -> None:
    """Raise ValueError for a file that cannot be run, or that others could change."""
    if not path.is_absolute() or not path.is_file() or not os.access(path, os.X_OK):
        raise ValueError("write the absolute path of a program that may be executed")
    facts = path.stat()
    if facts.st_uid not in {0, os.geteuid()} or facts.st_mode & 0o022:
        raise ValueError("it runs as the worker's user; let nobody else own or write it")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; fix or remove it.") from None
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    slurm = {"slurm": values["slurm"]} if "slurm" in values else {}
    return plain | slurm | cast("dict[str, Any]", values.get("worker", {}))
