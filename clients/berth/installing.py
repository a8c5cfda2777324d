"""
The command that adds parts of Berth to this environment, true to how Berth came into it.

An installation from an index can name the package; one from a folder, an archive or a
repository names that, as pip recorded it (`direct_url.json`).
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

_NAME = "gpuberth"
_MODULES = {"server": ("uvicorn", "sqlmodel"), "worker": ("psutil",), "trainer": ("torch",)}
"""Modules that a part brings; Berth's own are in every installation."""
_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")


def has(part: str) -> bool:
    """Return whether a part has in this environment what it needs; nothing is imported."""
    return all(find_spec(module) is not None for module in _MODULES[part])


def command(*parts: str) -> str:
    """Return the `pip install` that adds these extras here: `pip install '/src/berth[worker]'`."""
    extras = f"[{','.join(parts)}]" if parts else ""
    try:
        installed = metadata.distribution(_NAME)
    except metadata.PackageNotFoundError:
        # Run from its sources by PYTHONPATH.
        return f"pip install '{Path(__file__).resolve().parents[2]}{extras}'"
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    url = str(origin.get("url", ""))
    if not url:
        return f"pip install '{_NAME}{extras}'"
    if "vcs_info" in origin:
        return f"pip install '{_NAME}{extras} @ {origin['vcs_info'].get('vcs', 'git')}+{url}'"
    path = Path(unquote(urlsplit(url).path))
    if urlsplit(url).scheme != "file":
        return f"pip install '{_NAME}{extras} @ {url}'"
    if not path.exists():
        return " ".join(["pip install", *(f"'{one}'" for one in requirements(*parts))])
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"pip install {editable}'{path}{extras}'"


def requirements(*parts: str) -> list[str]:
    """Return what these extras require, as the installed package says."""
    found: list[str] = []
    for line in metadata.requires(_NAME) or []:
        requirement, _, marker = line.partition(";")
        extra = _EXTRA.search(marker)
        if extra and extra["extra"] in parts and requirement.strip() not in found:
            found.append(requirement.strip())
    return found
