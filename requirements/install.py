#!/usr/bin/env python3
"""
Set up `.venv` at the repository's root with everything Berth needs. Standard library only.

Run by `make setup`. Safe to interrupt and to repeat: the stamp `.venv/.ready` is written last
and names what was installed, so a second run with nothing changed returns at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".ready"
LOG = ROOT / "setup.log"
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
INPUTS = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
LEAST_PYTHON = (3, 11)


def main() -> int:
    """Install what is missing; return the exit code."""
    if sys.version_info < LEAST_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        return _refuse(
            f"Berth needs Python 3.11 or newer, but {sys.executable} is {found}; "
            "name another one with `make setup PYTHON=/path/to/python3.11`."
        )
    fingerprint = _fingerprint()
    if STAMP.is_file() and STAMP.read_text() == fingerprint and PYTHON.exists():
        return 0
    started = time.monotonic()
    print(f"Setting up {VENV.name}/ (once; the pip log is {LOG.name})", flush=True)
    with LOG.open("wb") as log:
        steps = (
            ("making the virtual environment", _make_venv),
            ("torch, the largest piece", _install_torch),
            ("everything else", _install_rest),
        )
        for number, (title, step) in enumerate(steps, start=1):
            print(f"  [{number}/{len(steps)}] {title} ", end="", flush=True)
            began = time.monotonic()
            sentence = step(log)
            if sentence:
                print(flush=True)
                return _refuse(sentence)
            print(f" {time.monotonic() - began:.0f} s", flush=True)
    STAMP.write_text(fingerprint)
    print(f"Ready after {time.monotonic() - started:.0f} s: .venv/bin/berth", flush=True)
    return 0


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{sys.version_info[:3]} {ROOT}".encode())
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_venv(log: object) -> str | None:
    if PYTHON.exists() and _quiet(log, [PYTHON, "-m", "pip", "--version"]):
        return None
    shutil.rmtree(VENV, ignore_errors=True)
    if _quiet(log, [sys.executable, "-m", "venv", VENV]):
        return None
    # Debian splits ensurepip off into python3-venv.
    shutil.rmtree(VENV, ignore_errors=True)
    package = f"python3.{sys.version_info.minor}-venv"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"({package} is missing, installing it) ", end="", flush=True)
        _quiet(log, ["apt-get", "update", "-q"])
        _quiet(log, ["apt-get", "install", "-q", "-y", "--no-install-recommends", package])
        if _quiet(log, [sys.executable, "-m", "venv", VENV]):
            return None
        shutil.rmtree(VENV, ignore_errors=True)
    return f"Python's venv module is incomplete here; run `sudo apt install {package}` and repeat."


def _install_torch(log: object) -> str | None:
    # First and alone: a torch that satisfies the pin keeps every later resolve from
    # looking for another, several gigabytes larger build.
    return _pip(log, "torch")


def _install_rest(log: object) -> str | None:
    return _pip(log, "-e", f"{ROOT}[all,dev]")


def _pip(log: object, *what: str) -> str | None:
    command = [PYTHON, "-m", "pip", "install", "-c", CONSTRAINTS, "--disable-pip-version-check"]
    if _quiet(log, [*command, *what]):
        return None
    return (
        f"pip could not install {what[-1].removeprefix(str(ROOT))}; the reason stands at the end "
        f"of {LOG.name}. Repeat with `make setup` when the cause is fixed: nothing is lost."
    )


def _quiet(log: object, command: list[object]) -> bool:
    """Run a command into the log with a dot every few seconds; return whether it succeeded."""
    environment = {**os.environ, "PYTHONNOUSERSITE": "1", "DEBIAN_FRONTEND": "noninteractive"}
    # A venv must not be disturbed by what the caller had activated or put on its path.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=ROOT,
        )
    except OSError:
        return False
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=3) == 0
            print(".", end="", flush=True)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        print("\nInterrupted; repeat with `make setup`.", flush=True)
        raise SystemExit(130) from None


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
