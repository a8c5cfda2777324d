"""The worker's settings: environment over `$BERTH_HOME/berth.toml` over defaults."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A setting is wrong; the message names it and the mend."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    home: Path
    """State folder, absolute."""
    gpus: str = "auto"
    """`auto`, `nvml`, `sim:8`, `sim:8xH100-80GB`."""
    log_level: str = "info"

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        return self.home / "run" / "berth.sock"

    @property
    def pid_file(self) -> Path:
        """Locked by the one worker of this home."""
        return self.home / "run" / "worker.pid"

    @property
    def boot_file(self) -> Path:
        """The boot in which a worker of this home last told the server what there is."""
        return self.home / "run" / "worker.boot"


def load() -> Settings:
    """Read the settings. Raises SettingsError."""
    home = _home()
    in_file = _read(home / "berth.toml")
    level = os.environ.get("BERTH_LOG_LEVEL") or str(in_file.get("log_level", "info"))
    if level.lower() not in _LEVELS:
        raise SettingsError(f"log_level is {level!r}; write one of {', '.join(_LEVELS)}.")
    return Settings(
        home=home,
        gpus=os.environ.get("BERTH_GPUS") or str(in_file.get("gpus", "auto")),
        log_level=level.lower(),
    )


def _home() -> Path:
    chosen = os.environ.get("BERTH_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/berth")
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "berth"


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; mend or remove it.") from None
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    return plain | cast("dict[str, Any]", values.get("worker", {}))
