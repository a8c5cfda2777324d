#!/usr/bin/env python3
"""
Build a release into `dist/`, try it in new environments, and sign off `dist/CHECKLIST.md`.

Run by `make release`. Nothing is published: the last line of the checklist is for a person.
Every Python from 3.11 to 3.14 that is on this machine gets two environments, one with the base
package alone and one with server and worker; one Python also gets the trainer. `--no-trainer`
leaves the trainer out (it installs torch).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TWINE = "twine==7.0.0"


class Fault(Exception):  # noqa: N818 - it is one sentence, not an error of this program
    """A step failed; the message says how."""


@dataclass
class Checklist:
    """The steps of a release with what each found, written after each of them."""

    lines: list[str] = field(default_factory=list)
    open: int = 0

    def step(self, title: str, work: Callable[[], str]) -> None:
        """Do one step and sign it off, or leave it open with the reason."""
        print(f"{title} …", end="", flush=True)
        began = time.monotonic()
        try:
            found = work()
        except (Fault, OSError, subprocess.SubprocessError) as error:
            self.open += 1
            self._write(f"- [ ] {title}: {error}")
            print(f" failed: {error}", flush=True)
            return
        took = time.monotonic() - began
        self._write(f"- [x] {title}: {found} ({took:.1f} s)")
        print(f" {found} ({took:.1f} s)", flush=True)

    def leave(self, line: str) -> None:
        """A line that is for a person."""
        self._write(f"- [ ] {line}")

    def _write(self, line: str) -> None:
        self.lines.append(line)
        head = f"# Release {version()}\n\n"
        (DIST / "CHECKLIST.md").write_text(head + "\n".join(self.lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run all steps; 0 when every one is signed off."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make release")
    parser.add_argument("--no-trainer", action="store_true", help="do not install torch")
    options = parser.parse_args()
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    found = {name: path for name in PYTHONS if (path := find_python(name))}
    checklist = Checklist()
    checklist.step("Work tree is committed", committed)
    checklist.step("CHANGELOG has the version", changelog)
    checklist.step("Source archive is built", build_archive)
    checklist.step("Wheel is built from it, without node and npm", build_wheel)
    checklist.step("Both hold what users need", contents)
    checklist.step("Metadata is fit for an index (twine)", twine)
    for name, python in found.items():
        checklist.step(f"Python {name}: base alone", lambda p=python: base(p))
        checklist.step(f"Python {name}: server and worker", lambda p=python: daemons(p))
    first = next(iter(found.values()))
    checklist.step("Source archive installs without node and npm", lambda: archive(first))
    if options.no_trainer:
        checklist.leave("Trainer: left out (--no-trainer)")
    else:
        checklist.step("Trainer: the demo trains", lambda: trainer(first))
    for name in PYTHONS:
        if name not in found:
            checklist.leave(f"Python {name}: not on this machine, not tried")
    checklist.leave("`make test` is green on this commit")
    checklist.leave("A person publishes dist/ and tags the commit")
    print(f"\n{DIST / 'CHECKLIST.md'}: {checklist.open} steps failed")
    return 1 if checklist.open else 0


def version() -> str:
    """Return the version of pyproject.toml."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def find_python(name: str) -> Path | None:
    """Return an interpreter of a version that runs: of PATH, or of pyenv."""
    places = [shutil.which(f"python{name}")]
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += map(str, root.glob(f"versions/{name}.*/bin/python"))
    for place in filter(None, places):
        done = subprocess.run(
            [place, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout.strip() == name:
            return Path(place)
    return None


def committed() -> str:
    """Check that nothing is left out of the release."""
    if changed := run("git", "-C", ROOT, "status", "--porcelain"):
        raise Fault(f"{len(changed.splitlines())} files are not committed")
    return run("git", "-C", ROOT, "rev-parse", "--short", "HEAD").strip()


def changelog() -> str:
    """Check that the changelog has a section of this version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[?{re.escape(version())}\b", text, re.MULTILINE):
        raise Fault(f"no section `## {version()}`; rename `## Unreleased`")
    return version()


def build_archive() -> str:
    """Build the source archive, with the dashboard in it."""
    code = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"
    return size(DIST / run(sys.executable, "-c", code, DIST, cwd=ROOT).split()[-1])


def build_wheel() -> str:
    """Build the wheel as pip does, with a PATH on which there is no node."""
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        DIST,
        made(".tar.gz"),
        env=bare(),
    )
    return size(made(".whl"))


def contents() -> str:
    """Check that dashboard, migrations and the texts are there."""
    wheel = zipfile.ZipFile(made(".whl")).namelist()
    for wanted in ("berth_server/_web/index.html", "berth_server/_migrations/env.py"):
        if wanted not in wheel:
            raise Fault(f"the wheel has no {wanted}")
    with tarfile.open(made(".tar.gz")) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    for wanted in (
        "CONTRIBUTING.md",
        "Dockerfile",
        "docker-compose.yml",
        "clients/web/dist/index.html",
    ):
        if wanted not in names:
            raise Fault(f"the source archive has no {wanted}")
    return f"{len(wheel)} and {len(names)} files"


def twine() -> str:
    """Check the metadata as an index does."""
    with environment(Path(sys.executable)) as python:
        run(python, "-m", "pip", "install", "-q", TWINE)
        run(python, "-m", "twine", "check", "--strict", made(".whl"), made(".tar.gz"))
    return "passed"


def base(python: Path) -> str:
    """Try the base package: small, and every refusal a sentence."""
    with environment(python) as fresh:
        before, began = folder_size(fresh.parents[1]), time.monotonic()
        install(fresh, f"{made('.whl')}")
        took = time.monotonic() - began
        grown = folder_size(fresh.parents[1]) - before
        berth = fresh.with_name("berth")
        run(berth, "--help")
        run(berth, "doctor")
        run(fresh, "-c", "import berth; berth.Client")
        for program in (("berth", "up"), ("berth-generate",), ("python", "-m", "berth.demo")):
            done = attempt([fresh.with_name(program[0]), *program[1:]])
            if (
                done.returncode == 0
                or "Traceback" in done.stdout
                or "pip install" not in done.stdout
            ):
                raise Fault(f"`{' '.join(program)}` does not refuse in a sentence: {done.stdout}")
        return f"installed in {took:.0f} s, {grown / 1e6:.0f} MB"


def daemons(python: Path) -> str:
    """Try server and worker: a job's exit code comes back, the dashboard answers."""
    with environment(python) as fresh:
        install(fresh, f"{made('.whl')}[server,worker]")
        berth = fresh.with_name("berth")
        with tempfile.TemporaryDirectory(prefix="berth-") as home:
            env = {
                **os.environ,
                "BERTH_HOME": home,
                "BERTH_GPUS": "sim:2",
                "BERTH_LISTEN": f"127.0.0.1:{free_port()}",
            }
            began = time.monotonic()
            up = run(berth, "up", "--detach", env=env)
            took = time.monotonic() - began
            try:
                code = attempt([berth, "run", "--", "sh", "-c", "exit 3"], env=env).returncode
                if code != 3:
                    raise Fault(f"`berth run` left with {code}, not with the job's 3")
                address = re.search(r"http://[\w.:]+", up)
                if address is None:
                    raise Fault(f"`berth up` named no address: {up}")
                with urllib.request.urlopen(address[0], timeout=10) as page:  # noqa: S310 - http, by the pattern
                    if b"<div id=" not in page.read():
                        raise Fault("the dashboard is not in the wheel")
            finally:
                run(berth, "down", env=env)
        return f"up in {took:.1f} s"


def archive(python: Path) -> str:
    """Install the source archive with a PATH on which there is no node."""
    with environment(python) as fresh:
        run(fresh, "-m", "pip", "install", "-q", f"{made('.tar.gz')}[server]", env=bare())
        code = "from berth_server.web.static import folder; print(folder())"
        if "_web" not in (found := run(fresh, "-c", code)):
            raise Fault(f"no dashboard: {found}")
        return "with its dashboard"


def trainer(python: Path) -> str:
    """Train the demo with the trainer of the wheel."""
    with environment(python) as fresh, tempfile.TemporaryDirectory(prefix="berth-") as folder:
        run(fresh, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, f"{made('.whl')}[all]")
        run(fresh, "-m", "berth.demo", "--folder", Path(folder, "demo"), cwd=folder)
        run(fresh.with_name("berth-generate"), "--help")
        return "two runs of four ranks succeeded"


@contextmanager
def environment(python: Path) -> Iterator[Path]:
    """Make a new virtual environment; give its interpreter."""
    with tempfile.TemporaryDirectory(prefix="berth-env-") as folder:
        run(python, "-m", "venv", folder)
        yield Path(folder, "bin", "python")


def install(python: Path, what: str) -> None:
    """Install as a user would, without pinned versions."""
    run(python, "-m", "pip", "install", "-q", what)


def made(suffix: str) -> Path:
    """Return the built file with a suffix."""
    found = next(DIST.glob(f"gpuberth-{version()}*{suffix}"), None)
    if found is None:
        raise Fault(f"there is no {suffix}")
    return found


def size(path: Path) -> str:
    """`gpuberth-1.0.tar.gz, 3.4 MB`"""
    return f"{path.name}, {path.stat().st_size / 1e6:.1f} MB"


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file())


def bare() -> dict[str, str]:
    """Our variables with a PATH that holds a shell and git alone."""
    folder = DIST / ".bin"
    folder.mkdir(exist_ok=True)
    for name in ("sh", "env", "git"):
        if (found := shutil.which(name)) and not (folder / name).exists():
            (folder / name).symlink_to(found)
    return {**os.environ, "PATH": str(folder)}


def attempt(
    command: list[object], env: dict[str, str] | None = None, cwd: object = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with its output in one text, outside the source tree and its settings."""
    kept = {k: v for k, v in (env or os.environ).items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [str(part) for part in command],
        env=kept,
        cwd=str(cwd or tempfile.gettempdir()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,
    )


def run(*command: object, env: dict[str, str] | None = None, cwd: object = None) -> str:
    """Run a command and return its output. Raises Fault when it fails."""
    done = attempt(list(command), env, cwd)
    if done.returncode:
        last = " | ".join(done.stdout.strip().splitlines()[-4:])
        raise Fault(f"`{' '.join(map(str, command))[:120]}` left with {done.returncode}: {last}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
