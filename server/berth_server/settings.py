"""
Server settings: environment over `$BERTH_HOME/berth.toml` over defaults.

`berth.toml` also holds what belongs to other parts (`[worker]`, `[supervisor]`, …): tables this
file does not know are left alone, unknown plain keys are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import structlog
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from berth.protocol.base import Duration
from berth.units import parse_size
from berth_server.core.settings import FORMER, PolicySettings
from berth_server.limits import LimitSettings
from berth_server.service.auth import proxies

log = structlog.get_logger()
_PREFIX = "BERTH_"
_EXECUTORS = ("local", "slurm")
_EXPECTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "text",
    "time": "a time of day like 22:00",
    "is": "a time zone like Europe/Berlin",  # is_instance_of: of tzinfo
    "frozen": "a list",
    "tuple": "a list",
    "dict": "a table",
    "mapping": "a table",
    "dataclass": "a table",
}
"""By the first word of pydantic's kind of error."""


class SettingsError(Exception):
    """A setting is wrong; the message names it and the fix."""


class Settings(LimitSettings):
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
    socket_mode: str = "0666"
    """Permissions of the unix socket; who may open it may use the queue as themselves."""
    public_url: str | None = None
    """Beginning of login links, where a reverse proxy or another host name is in use."""
    tls_certificate: str = ""
    """PEM file with the certificate chain, for HTTPS on `listen`; read again when it changes."""
    tls_key: str = ""
    """PEM file with its key."""
    trusted_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")
    """Header in which a proxy names its signed-in user by login name, like `X-Forwarded-User`."""
    trusted_proxies: str = ""
    """Proxies whose header is trusted: accounts that proxies on this machine run as, addresses of others,
    like `caddy, 10.0.0.5`. The header is ignored from all others."""
    ports: str = "29600-29999"
    """Rendezvous ports that attempts are given, first and last."""
    allow_other_users: bool = False
    """Let a server that is not root take jobs of other users, which then run as its own user."""
    webhooks: bool = True
    """POST to a job's `notify` URLs when it ends."""
    notify_schemas: str = ""
    """Kinds of addresses beside http and https that `notify` may have, like `mailto, ntfys, slack`:
    those of the package apprise."""
    waste_report_to: str = ""
    """Addresses, separated by commas, that get the waste report of the week every Monday at 8:00 of
    the policy's time zone: those that `notify` may have."""
    snapshot_max: str = "512MiB"
    """Maximum size of the code that `snapshot: true` copies for one job; ignored files are only linked."""
    price_per_gpu_hour: float | None = Field(default=None, ge=0)
    """Price of a GPU-hour held, for the cost of jobs; none by default."""
    price_per_kwh: float | None = Field(default=None, ge=0)
    """Price of a kWh that GPUs used, added to the cost of jobs; none by default."""
    co2_per_kwh: float | None = Field(default=None, ge=0)
    """Grams of CO2 for each kWh, for the CO2 of jobs; none by default."""
    currency: str = Field(default="", max_length=10)
    """Unit of the two prices, shown with costs."""
    idle_tell_after: Duration | None = None
    """Time after which a job whose GPUs do nothing is reported, like `30m`; none by default."""
    idle_stop_after: Duration | None = None
    """Time after which such a job is stopped, unless it has the label `idle=ok`; none by default."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""
    session_days: float = Field(default=30.0, gt=0, le=365)
    """Time that a browser stays logged in, days."""
    policy: PolicySettings = PolicySettings()
    """Order of the queue; see docs/scheduling.md."""

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        if value != "off":
            split_address(value)
        return value

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together; set both, or neither.")
        proxies.parse(self.trusted_header, self.trusted_proxies)
        return self

    @field_validator("socket_mode")
    @classmethod
    def _file_mode(cls, value: str) -> str:
        if not re.fullmatch(r"0?[0-7]{3}", value):
            raise ValueError(f"{value!r} is not a file mode; write it like 0660.")
        return value

    @field_validator("ports")
    @classmethod
    def _port_range(cls, value: str) -> str:
        found = re.fullmatch(r"(\d{2,5})-(\d{2,5})", value)
        if found is None or not 1024 <= int(found[1]) <= int(found[2]) <= 65535:
            raise ValueError(f"{value!r} is not a port range; write first-last within 1024-65535.")
        return value

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
        raise ValueError(f"{value!r} is not an address; write it like 127.0.0.1:8787, or off.")
    return host.strip("[]"), int(port)


def load(home: Path) -> Settings:
    """Read the settings of this home. Raises SettingsError."""
    path = home / "berth.toml"
    values = read(path)
    try:
        return Settings(**values)
    except ValidationError as error:
        # A misspelt name is also a missing one: the spelling comes first.
        first = min(error.errors(), key=lambda one: one["type"] == "missing")
        top = str((*first["loc"], "")[0])  # none for settings that do not go together
        where = f"${_PREFIX}{top.upper()}" if from_environment(top) else str(path)
        raise SettingsError(f"{where}: {_problem(first)}") from None


def _problem(error: ErrorDetails) -> str:
    """Return a sentence that names the setting and what may stand there."""
    kind, loc, value = error["type"], error["loc"], error["input"]
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)[1:]
    table = name.rpartition(".")[0]
    if kind == "unexpected_keyword_argument":
        return f"{table} knows no setting {loc[-1]!r}{_near(str(loc[-1]), _known(loc[:-1]))}."
    if kind == "missing":
        return f"{table} needs {loc[-1]!r}; add it."
    if kind == "value_error":
        problem = error["msg"].removeprefix("Value error, ")
        return f"{name}: {problem}" if name not in {"", "policy"} else problem
    expected = _EXPECTED.get(kind.partition("_")[0])
    if expected is not None:
        return f"{name} is {value!r}; write {expected}."
    return f"{name} is {value!r}; it {error['msg'].replace('Input should', 'must')}."


def _known(loc: Iterable[int | str]) -> Iterable[str]:
    """Return the names that the table at this place may have."""
    kind: Any = Settings
    for step in loc:
        field = kind.__pydantic_fields__.get(step)
        if field is not None:
            candidates = (field.annotation, *get_args(field.annotation))
            kind = next(one for one in candidates if is_dataclass(one))
    return kind.__pydantic_fields__


def read(path: Path) -> dict[str, Any]:
    """Return the server's part of a `berth.toml`, by setting. Raises SettingsError."""
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
    shared = {"gpus", "executor"}  # read by the worker
    if own.get("executor", "local") not in _EXECUTORS:
        raise SettingsError(
            f"{path}: executor is {own['executor']!r}; write 'local' for this box or 'slurm' for "
            "its cluster."
        )
    for name in own:
        if name not in known and name not in shared:
            raise SettingsError(f"{path} knows no setting {name!r}{_near(name, known)}.")
    if "policy" in values:
        own["policy"] = values["policy"]
        if isinstance(own["policy"], dict):
            _leave_out_former(own["policy"], path)
    return {name: value for name, value in own.items() if name in known}


def _leave_out_former(policy: dict[str, Any], path: Path) -> None:
    """Ignore policy settings of earlier versions, and log one sentence that names them."""
    names = sorted(FORMER & policy.keys())
    for name in names:
        del policy[name]
    if names:
        listed = ", ".join(f"policy.{name}" for name in names)
        are, them = ("are", "them") if names[1:] else ("is", "it")
        sentence = f"{listed} {are} no longer used; remove {them} from {path} (docs/scheduling.md has the rest)."
        log.warning(sentence, action="settings.former")


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [*known], n=1)
    return f"; did you mean {close[0]!r}?" if close else "; see docs/operations.md"


def from_environment(name: str) -> bool:
    """True if a variable sets this setting."""
    return bool(os.environ.get(f"{_PREFIX}{name.upper()}"))
