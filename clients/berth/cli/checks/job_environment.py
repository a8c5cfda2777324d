"""Check of the environment that jobs inherit from the worker."""

from __future__ import annotations

import tomllib
from pathlib import Path

from berth.cli.checks.finding import Finding, ok
from berth.home import Home
from berth.inherited import NAMES, handed_on, withheld

_WHAT = "variables"
_SHOWN = 12


def finding(home: Home, pid: int) -> Finding:
    """Name the variables that jobs get of the running worker's, and those that they do not."""
    try:
        own = _environment(pid)
    except OSError:
        return ok(
            _WHAT,
            f"Jobs inherit {', '.join(sorted(NAMES))} and LC_*, as far as the worker has them.",
        )
    more = _named(home.config)
    kept = ", ".join(sorted(handed_on(own, more))) or "nothing"
    rest = withheld(own, more)
    if not rest:
        return ok(_WHAT, f"Jobs inherit {kept} of the worker's environment.")
    listed = ", ".join(rest[:_SHOWN]) + (f" and {len(rest) - _SHOWN} more" if rest[_SHOWN:] else "")
    return ok(
        _WHAT,
        f"Jobs inherit {kept} of the worker's environment; not {listed} (--env and --env-pass set "
        "them for a job, pass_environment under [worker] in berth.toml for all).",
    )


def _environment(pid: int) -> dict[str, str]:
    raw = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    pairs = (entry.partition("=") for entry in raw.split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}


def _named(config: Path) -> tuple[str, ...]:
    """Names that `berth.toml` adds; a file that cannot be read is told where the worker starts."""
    try:
        values = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    worker = values.get("worker")
    found = worker.get("pass_environment", ()) if isinstance(worker, dict) else ()
    return tuple(map(str, found)) if isinstance(found, list) else ()
