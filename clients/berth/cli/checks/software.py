"""Checks of versions and packages: Python, Berth's parts, the NVML binding, compilers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from berth import installing
from berth.cli.checks.finding import Finding, fail, ok, warn

_PARTS = {
    "server": ("fastapi", "uvicorn", "sqlmodel"),
    "worker": ("nvidia-ml-py", "psutil"),
    "trainer": ("torch", "deepspeed", "transformers"),
}


def findings() -> Iterator[Finding]:
    """Check what is installed in this environment."""
    yield ok("python", f"Python {platform.python_version()} at {sys.executable}.")
    if os.geteuid() == 0:
        yield from _open_to_all(sys.executable, installing.__file__)
    yield from _parts()
    yield _binding()
    yield from _builds()


def installed(part: str) -> bool:
    """Return whether a part of Berth has what it needs in this environment."""
    return all(_version(need) is not None for need in _PARTS[part])


def _open_to_all(*files: str) -> Iterator[Finding]:
    """Check that others than root can run what root has installed, its own links followed."""
    paths = [Path(os.path.realpath(one)) for one in files] + [Path(one) for one in files]
    for path in dict.fromkeys(p for one in paths for p in (*reversed(one.parents), one)):
        wanted = 0o005 if path.suffix != ".py" and path.is_file() else 0o004
        if not path.stat().st_mode & (0o001 if path.is_dir() else wanted):
            yield warn(
                "environment",
                f"Users other than root cannot run this `berth`: {path} is closed to them.",
                "install it where all users may read, with a Python of the system: "
                "python3 -m venv /opt/berth",
            )
            return


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _parts() -> Iterator[Finding]:
    for part, needs in _PARTS.items():
        versions = {need: _version(need) for need in needs}
        missing = [need for need, version in versions.items() if version is None]
        if not missing:
            found = ", ".join(f"{need} {version}" for need, version in versions.items())
            yield ok(part, f"Installed with {found}.")
        elif part == "trainer":
            yield ok(part, "Not installed here; jobs use their own environments.")
        else:
            yield warn(
                part,
                f"Not installed here: {', '.join(missing)} is missing.",
                f"{installing.command(part)}, unless this machine is only a client",
            )


def _binding() -> Finding:
    old, own = _version("pynvml"), _version("nvidia-ml-py")
    if old is not None:
        return fail(
            "nvml binding",
            f"The deprecated package pynvml {old} is installed and shadows nvidia-ml-py.",
            "pip uninstall pynvml && pip install --force-reinstall nvidia-ml-py",
        )
    return ok("nvml binding", f"nvidia-ml-py {own}." if own else "Not needed by a client.")


def _builds() -> Iterator[Finding]:
    ninja = shutil.which("ninja")
    compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if ninja and compiler:
        yield ok(
            "builds", f"ninja and {compiler} are installed: DeepSpeed can build its operators."
        )
    else:
        missing = " and ".join(
            word for word, there in (("ninja", ninja), ("a C++ compiler", compiler)) if not there
        )
        yield warn(
            "builds",
            f"{missing} is missing: DeepSpeed cannot build operators such as its CPU optimizer.",
            "apt-get install g++ ninja-build, or pip install ninja in the job's environment",
        )
    nvcc = shutil.which("nvcc", path="/usr/local/cuda/bin") or shutil.which("nvcc")
    if nvcc:
        yield ok("cuda toolkit", f"{_release(nvcc)} at {nvcc}.")
    elif shutil.which("nvidia-smi"):
        yield warn(
            "cuda toolkit",
            "nvcc is missing: DeepSpeed cannot build CUDA operators.",
            "install the CUDA toolkit of torch's CUDA version, or use a DeepSpeed with prebuilt operators",
        )


def _release(nvcc: str) -> str:
    try:
        words = subprocess.run(
            [nvcc, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "CUDA toolkit"
    line = next((line for line in words.splitlines() if "release" in line), "CUDA toolkit")
    return line.strip()
