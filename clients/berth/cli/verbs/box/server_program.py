"""Programs of the server that verbs run: the command line itself does not import it."""

from __future__ import annotations

import os
import subprocess
import sys

from berth import home as homes
from berth import installing
from berth.cli.failure import REFUSED, Failure


def run(name: str, arguments: list[str]) -> str:
    """Run `python -m berth_server.NAME`; return what it printed, or raise its sentence as Failure."""
    if not installing.has("server"):
        raise Failure(
            f"The server is not installed here; `{installing.command('server')}` adds it."
        )
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"berth_server.{name}", *arguments],
        env={**os.environ, "BERTH_HOME": str(homes.resolve().folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    said = done.stderr.strip().splitlines()
    if done.returncode != 0:
        raise Failure(said[-1] if said else f"The {name} did not work.", REFUSED)
    return done.stdout.rstrip("\n")
