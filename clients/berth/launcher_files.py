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
_MOST_PAIRS = 20_000
Reading = Callable[[str, int], str | None]
"""Reads the text of a file by its path, up to so many bytes; None where it cannot."""


def configs(
    names: Iterable[str],
    workdir: str,
    may_read: Callable[[str], bool] = lambda _path: True,
    reading: Reading | None = None,
) -> dict[str, Mapping[str, object]]:
    """
    Return the content of those YAML or JSON files that hold a mapping, by name as given.

    `reading` reads them as somebody else.
    """

    def own(path: str, limit: int) -> str | None:
        return _text(path, limit, may_read)

    read = reading or own
    found: dict[str, Mapping[str, object]] = {}
    for name in names:
        text = read(str(Path(workdir, name)), _LONGEST_CONFIG)
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

    class BoundedLoader(yaml.SafeLoader):
        """Loader that does not multiply mappings by merging them into one another (`<<`)."""

        merged = 0

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            """Merge, but no more than so many pairs in all."""
            super().flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > _MOST_PAIRS:
                raise yaml.YAMLError("its mappings are merged too often")

    try:
        content: object = yaml.load(text, BoundedLoader)  # noqa: S506 - a safe one
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    return {str(key): value for key, value in cast("dict[object, object]", content).items()}
