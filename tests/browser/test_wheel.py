"""Contents of an installation: the dashboard, built on a machine without node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import sys
from hatchling.build import build_wheel
print(build_wheel(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of these sources, built with a PATH on which there is no node."""
    folder = tmp_path_factory.mktemp("wheel")
    bare = folder / "bin"
    bare.mkdir()
    for name in ("sh", "env", "git"):
        found = shutil.which(name)
        if found:
            (bare / name).symlink_to(found)
    assert shutil.which("node", path=str(bare)) is None
    (ROOT / "clients/web/.stamp").unlink(missing_ok=True)  # a build is due
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PATH": str(bare)},
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
