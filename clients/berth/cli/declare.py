"""Declarations of options and arguments: read by Typer in `whole`, and by `quick` without Typer."""

from __future__ import annotations

from typing import Any


class Option:
    """An option of a verb; flags and settings as `typer.Option` takes them."""

    def __init__(self, *flags: str, **settings: Any) -> None:
        self.flags = flags
        self.settings = settings


class Argument:
    """A positional argument of a verb; settings as `typer.Argument` takes them."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


class Exit(Exception):  # noqa: N818 - a verb's ordinary end, not a fault
    """End of the command with an exit code, after everything has been printed."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(code)
        self.code = code
