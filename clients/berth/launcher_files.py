"""
Launchers' configuration files and training scripts, read at the edge for `berth.commands`.

They lie where the job's user can put anything: they are opened without waiting, must be regular
files, and are read up to a limit. What cannot be read says nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

_LONGEST_CONFIG = 64 * 1024
_LONGEST_SCRIPT = 256 * 1024


def configs(
    names: Iterable[str], workdir: str, may_read: Callable[[str], bool] = lambda _path: True
) -> dict[str, Mapping[str, object]]:
    """Return the content of those YAML or JSON files that hold a mapping, by name as given."""
    found: dict[str, Mapping[str, object]] = {}
    for name in names:
        text = _text(str(Path(workdir, name)), _LONGEST_CONFIG, may_read)
        content = None if text is None else _mapping(text)
        if content is not None:
            found[name] = content
    return found


def script(path: str, may_read: Callable[[str], bool] = lambda _path: True) -> str | None:
    """Return the text of a training script; None where it cannot be read."""
    return _text(path, _LONGEST_SCRIPT, may_read)


def _text(path: str, limit: int, may_read: Callable[[str], bool]) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        # Asked of the opened file: what the path means may change meanwhile.
        if not may_read(f"/proc/self/fd/{descriptor}"):
            return None
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if len(data) > limit else data.decode("utf-8", "replace")


def _mapping(text: str) -> Mapping[str, object] | None:
    import yaml

    try:
        content: object = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    return {str(key): value for key, value in cast("dict[object, object]", content).items()}
