"""
The server's settings: environment over `$BERTH_HOME/berth.toml` over defaults.

`berth.toml` also holds what belongs to other parts (`[worker]`, `[supervisor]`, …): tables this
file does not know are left alone, unknown plain keys are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from berth.protocol.server import ServerSettings, Setting
from berth.units import parse_size

Origin = Literal["default", "environment", "berth.toml"]
_PREFIX = "BERTH_"
_EXECUTOR = "local"


class SettingsError(Exception):
    """A setting is wrong; the message names it and the fix."""


class Settings(BaseSettings):
    """Everything that can be set, with what it means."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        use_attribute_docstrings=True,
        frozen=True,
    )
    listen: str = "127.0.0.1:8787"
    """Address and port of the dashboard and of remote clients; `off` for the unix socket alone."""
    socket_mode: str = Field(default="0666", pattern=r"^0?[0-7]{3}$")
    """Permissions of the unix socket; who may open it may use the queue as themselves."""
    public_url: str | None = None
    """What login links begin with, where a reverse proxy or another host name is in use."""
    ports: str = Field(default="29600-29999", pattern=r"^\d{2,5}-\d{2,5}$")
    """Rendezvous ports that attempts are given, first and last."""
    allow_other_users: bool = False
    """Let a server that is not root take jobs of other users, which then run as its own user."""
    webhooks: bool = True
    """POST to a job's `notify` URLs when it ends."""
    snapshot_max: str = "512MiB"
    """How much code `snapshot: true` copies for one job at most; ignored files are only linked."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""
    session_days: float = Field(default=30.0, gt=0, le=365)
    """How long a browser stays logged in, days."""
    policy: dict[str, Any] = Field(default_factory=dict)
    """How the queue is ordered; see docs/scheduling.md."""

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        if value != "off":
            split_address(value)
        return value

    @model_validator(mode="after")
    def _port_range(self) -> Settings:
        first, last = self.port_range
        if not 1024 <= first <= last <= 65535:
            raise ValueError(f"'ports' is {self.ports}; write first-last within 1024-65535.")
        return self

    @field_validator("snapshot_max")
    @classmethod
    def _snapshot_size(cls, value: str) -> str:
        parse_size(value)
        return value

    @property
    def port_range(self) -> tuple[int, int]:
        """First and last rendezvous port."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then what `load` read from the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def split_address(value: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{value!r} is not an address; write like 127.0.0.1:8787, or off.")
    return host.strip("[]"), int(port)


def load(home: Path) -> Settings:
    """Read the settings of this home. Raises SettingsError."""
    path = home / "berth.toml"
    values = _read(path)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        problem = first["msg"].removeprefix("Value error, ").rstrip(".")
        top = str(first["loc"][0]) if first["loc"] else name
        where = f"${_PREFIX}{top.upper()}" if _from_environment(top) else str(path)
        raise SettingsError(f"{where}: {name}: {problem}.") from None


def show(settings: Settings, home: Path) -> ServerSettings:
    """Each setting but the policy's: its value, where it comes from and what it means."""
    in_file = _read(home / "berth.toml")
    listed: list[Setting] = []
    for name, field in Settings.model_fields.items():
        if name == "policy":
            continue
        origin: Origin = "default"
        if _from_environment(name):
            origin = "environment"
        elif name in in_file:
            origin = "berth.toml"
        listed.append(
            Setting(
                name=name,
                value=getattr(settings, name),
                origin=origin,
                description=field.description or "",
                environment=f"{_PREFIX}{name.upper()}",
            )
        )
    return ServerSettings(home=str(home), settings=listed)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}); fix or remove it.") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}; fix that line.") from None
    known = Settings.model_fields
    # Keys of `[server]` and plain keys mean the same.
    own: dict[str, Any] = {k: v for k, v in values.items() if not isinstance(v, dict)}
    own |= cast("dict[str, Any]", values.get("server", {}))
    if own.get("executor", _EXECUTOR) != _EXECUTOR:
        raise SettingsError(
            f"{path}: executor is {own['executor']!r}; this version runs jobs only on its own box, "
            f"so write {_EXECUTOR!r} or remove the line."
        )
    shared = {"gpus", "executor"}  # `gpus` is read by the worker
    for name in own:
        if name not in known and name not in shared:
            raise SettingsError(f"{path} knows no setting {name!r}{_near(name, known)}.")
    if "policy" in values:
        own["policy"] = values["policy"]
    return {name: value for name, value in own.items() if name in known}


def _near(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else "; see docs/operations.md"


def _from_environment(name: str) -> bool:
    return bool(os.environ.get(f"{_PREFIX}{name.upper()}"))
