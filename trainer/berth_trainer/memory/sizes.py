"""Memory sizes: the notation of the command line, and the host memory of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

GIB = 1 << 30

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)(B?))?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """
    Return a memory size in bytes: "79.6GiB", "81559MiB", "80G", "80GB", or a number of GiB.

    "GB" and its siblings are powers of 1000, every other unit is a power of 1024. Raises
    ValueError with the accepted forms.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a memory size; write it like 80GB, 40GiB or 81559MiB")
    number, unit, binary, byte = match.groups()
    if unit is None:
        return int(float(number) * GIB)
    base = 1000 if byte and not binary else 1024
    return int(float(number) * base ** _POWERS[unit.lower()])


def is_decimal(text: str) -> bool:
    """Return whether the size is written in powers of 1000, as "80GB"."""
    match = _SIZE.fullmatch(text.strip())
    return match is not None and bool(match[4]) and not match[3]


def host_memory(root: Path = Path("/")) -> int:
    """
    Return the bytes of memory that this process may use: the machine's, or its cgroup's limit.

    `root` is where `proc` and `sys` are found.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_cgroup_limits(root)])


def available_memory() -> float:
    """Return the bytes of host memory that are free or can be freed."""
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return float("inf")


def _cgroup_limits(root: Path) -> Iterator[int]:
    """
    Yield the limits of the process's cgroup and of those around it, versions 1 and 2.

    In a container /proc/self/cgroup may name a folder of the host. The walk ends at the mount
    point, which then is the container's own cgroup.
    """
    mount = root / "sys/fs/cgroup"
    for controllers, path in _cgroups(root):
        if not controllers:
            base, name = mount, "memory.max"
        elif "memory" in controllers:
            base, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
        for depth in range(len(parts), -1, -1):
            text = _read(base.joinpath(*parts[:depth], name))
            if text.isdecimal():  # version 2 writes "max" where there is no limit
                yield int(text)


def _cgroups(root: Path) -> Iterator[tuple[list[str], str]]:
    """Yield controllers and path of each of the process's cgroups; version 2 names none."""
    lines = _read(root / "proc/self/cgroup").splitlines()
    for line in lines or ["0::/", "1:memory:/"]:
        _, controllers, path = line.split(":", 2)
        yield [one for one in controllers.split(",") if one], path


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
