"""Settings that bound what one client may use, so that everybody else is answered in time."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from berth.units import parse_size


def _size(value: str) -> str:
    if parse_size(value) < _SMALLEST:
        raise ValueError(f"{value!r} is too small to work with; write at least 4KiB.")
    return value


_SMALLEST = 4096
Size = Annotated[str, AfterValidator(_size)]


class LimitSettings(BaseSettings):
    """Bounds for each user: one uid on the unix socket, one token's owner, one remote address."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)
    body_max: Size = "16MiB"
    """Maximum size of a request's body, counted as it arrives."""
    header_max: Size = "64KiB"
    """Maximum length of a request's first line and headers together."""
    job_max: Size = "1MiB"
    """Maximum size of one job of a submit, as JSON; data belongs into files."""
    jobs_per_submit: int = Field(default=2000, ge=1, le=100_000)
    """Maximum number of jobs that one submit or one ablation makes."""
    log_answer_max: Size = "8MiB"
    """Maximum size of the part of a log in one answer, bytes; the next request continues."""
    requests_at_once: int = Field(default=4, ge=1, le=1000)
    """Maximum number of one user's requests in work at once; further ones wait for their turn."""
    searches_at_once: int = Field(default=2, ge=1, le=100)
    """Maximum number of one user's searches and readings of whole files at once; others wait."""
    connections_per_user: int = Field(default=1000, ge=8, le=1_000_000)
    """Maximum number of one user's open connections; further ones are refused."""
    connections_per_second: float = Field(default=200.0, ge=1, le=1_000_000)
    """Pace at which one user's new connections are taken, after half a second's at once; further
    ones wait, and those that would wait longer than 5 s are closed."""
    streams_per_user: int = Field(default=600, ge=1, le=1_000_000)
    """Maximum number of one user's followed logs and event streams."""
    request_timeout: float = Field(default=60.0, ge=0.1, le=3600)
    """Within how many seconds a request must have arrived, and its answer been taken."""
