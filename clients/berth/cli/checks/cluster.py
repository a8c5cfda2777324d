"""Checks of the Slurm cluster that jobs run on, made by the worker's own code."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from berth.cli.checks.finding import Finding, fail

_TIMEOUT_S = 120


def is_used(home: Path) -> bool:
    """True if the home's settings send jobs to Slurm."""
    try:
        settings = tomllib.loads((home / "berth.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    worker = settings.get("worker")
    own = worker.get("executor") if isinstance(worker, dict) else None
    return (own or settings.get("executor")) == "slurm"


def findings() -> Iterator[Finding]:
    """Check the cluster and one of its nodes."""
    words = [sys.executable, "-P", "-m", "berth_worker.slurm"]
    try:
        child = subprocess.run(
            words, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        yield fail("slurm", f"No answer within {_TIMEOUT_S} s.", "make `sinfo` work here")
        return
    try:
        found: list[tuple[str, str, str, str | None]] = json.loads(child.stdout)
    except ValueError:
        said = (child.stderr or child.stdout).strip().splitlines()
        why = said[-1] if said else f"exit code {child.returncode}."
        yield fail("slurm", f"The cluster cannot be checked: {why}", "fix what the sentence names")
        return
    for what, level, sentence, fix in found:
        yield Finding(what, level, sentence, fix)  # pyright: ignore[reportArgumentType] - one of the three words
