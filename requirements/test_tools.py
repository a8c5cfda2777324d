#!/usr/bin/env python3
"""
See that what tests need beside Python is there: a C compiler, Chromium, Slurm.

The tests compile a small C library that answers as NVIDIA's, drive the dashboard in a real
browser, and run jobs on a small Slurm cluster of this machine's. Run by `make test` with the
environment's Python; quick when all are there. `test_tools.py slurm` sees to Slurm alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
LOG = ROOT / "setup.log"


def main() -> int:
    """Provide all, or those named; return the exit code."""
    known = {"compiler": _compiler, "chromium": _chromium, "slurm": _slurm}
    wanted = [known[name] for name in sys.argv[1:]] or known.values()
    sentences = [sentence for provide in wanted if (sentence := provide())]
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    return 1 if sentences else 0


def _compiler() -> str | None:
    if any(map(shutil.which, ("cc", "gcc", "clang"))) or find_spec("ziglang"):
        return None
    # A compiler from a wheel needs neither root nor a package manager.
    print("No C compiler here; installing one into .venv", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "-c", str(CONSTRAINTS), "ziglang"]
    if _logged(pip):
        return None
    return f"A C compiler is missing; run `sudo apt install gcc` and repeat ({LOG.name} says more)."


def _chromium() -> str | None:
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))) or _bundled():
        return None
    print("No Chromium here; installing one for the dashboard's tests", flush=True)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _logged(["apt-get", "update", "-q"])
        if _logged(["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"]):
            return None
    if _logged([sys.executable, "-m", "playwright", "install", "chromium"]):
        return None
    return (
        f"Chromium is missing; run `sudo apt install chromium` and repeat ({LOG.name} says more)."
    )


def _slurm() -> str | None:
    # The environment that runs this has Berth, whose demo knows what a cluster needs.
    from berth.demo import cluster

    if not cluster.missing():
        return None
    print("No Slurm here; installing it for the tests of the cluster", flush=True)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _logged(["apt-get", "update", "-q"])
        if _logged(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *cluster.PACKAGES]
        ):
            return None
    return (
        "Slurm is missing; run `sudo apt install --no-install-recommends "
        f"{' '.join(cluster.PACKAGES)}` and repeat ({LOG.name} says more)."
    )


def _bundled() -> bool:
    """Return whether Playwright's own Chromium was fetched earlier."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ms-playwright"
    return any(cache.glob("chromium-*"))


def _logged(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with LOG.open("ab") as log:
        done = subprocess.run(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, check=False
        )
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
