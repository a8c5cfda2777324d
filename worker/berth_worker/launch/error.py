"""LaunchError, the one error of launching."""

from __future__ import annotations


class LaunchError(Exception):
    """The attempt cannot be started; the message is one sentence that names the fix."""
