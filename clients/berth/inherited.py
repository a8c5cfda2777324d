"""
Variables that jobs inherit from the worker: the set-up of the box, and nothing of a shell.

Everything else of the environment in which the daemons were started stays with them: secrets,
an active conda or virtual environment, PYTHONPATH, ranks and ports of somebody's run.
"""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterable, Mapping

NAMES = frozenset(
    [
        "PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "LD_LIBRARY_PATH",
        "LIBRARY_PATH",
        "CPATH",
        "CUDA_HOME",
        "CUDA_PATH",
        "NVIDIA_DRIVER_CAPABILITIES",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "ftp_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "FTP_PROXY",
        "ALL_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
    ]
)
_PREFIX = "LC_"
# An environment that was active at the start: its programs must not be found by every job.
_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_PREFIX_")
_PATHS = ("PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH")


def handed_on(own: Mapping[str, str], more: Collection[str] = ()) -> dict[str, str]:
    """Return what jobs inherit of the environment `own`; `more` are names that an admin added."""
    kept = {
        name: value
        for name, value in own.items()
        if name in NAMES or name.startswith(_PREFIX) or name in more
    }
    active = [value for name, value in own.items() if value and name.startswith(_ACTIVE)]
    for name in _PATHS:
        if name in kept:
            kept[name] = ":".join(_outside(kept[name].split(":"), active))
            if not kept[name]:
                del kept[name]
    return kept


def withheld(own: Iterable[str], more: Collection[str] = ()) -> list[str]:
    """Return the names that stay with the daemons and that a job might miss."""
    return sorted(
        name
        for name in own
        if name not in NAMES
        and name not in more
        and not name.startswith((_PREFIX, "BERTH_"))
        and name not in _OF_EVERY_SHELL
    )


_OF_EVERY_SHELL = frozenset(
    {"HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "_", "TERM", "MAIL"}
    | {"LS_COLORS", "COLORTERM", "DISPLAY", "HOSTNAME", "LESSOPEN", "LESSCLOSE"}
)


def _outside(parts: list[str], folders: list[str]) -> list[str]:
    """The parts of a path that do not lie in `bin`, `lib` or `include` of an environment."""
    inside = {
        os.path.normpath(f"{folder}/{part}")
        for folder in folders
        for part in ("bin", "lib", "include")
    }
    return [part for part in parts if not part or os.path.normpath(part) not in inside]
