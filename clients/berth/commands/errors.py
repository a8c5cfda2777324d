"""The one error of this package."""

from __future__ import annotations


class CommandError(ValueError):
    """A command that Berth cannot run as it stands; the message names the fix."""
