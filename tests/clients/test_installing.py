"""The command that adds a part of Berth, and what a client without server and worker is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import venv
from importlib import metadata
from pathlib import Path

import pytest

from berth import installing
from berth.cli.checks import devices, software

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *ROOT.glob("docs/**/*.md"),
    *(
        p
        for r in ("clients/berth", "server", "worker", "trainer")
        for p in ROOT.glob(f"{r}/**/*.py")
    ),
)


@pytest.fixture
def origin(monkeypatch):
    """Let the installed package have come from somewhere: the record that pip leaves."""

    def set_to(record: dict | None) -> None:
        kind = type(metadata.distribution("gpuberth"))
        real, text = kind.read_text, None if record is None else json.dumps(record)

        def read_text(self, name):
            return text if name == "direct_url.json" else real(self, name)

        monkeypatch.setattr(kind, "read_text", read_text)

    return set_to


@pytest.mark.parametrize(
    ("record", "command"),
    [
        (None, "pip install 'gpuberth[worker]'"),
        (
            {"url": f"file://{ROOT}", "dir_info": {"editable": True}},
            f"pip install -e '{ROOT}[worker]'",
        ),
        ({"url": f"file://{ROOT}", "dir_info": {}}, f"pip install '{ROOT}[worker]'"),
        (
            {"url": "https://git.example/berth", "vcs_info": {"vcs": "git", "commit_id": "0"}},
            "pip install 'gpuberth[worker] @ git+https://git.example/berth'",
        ),
        (
            {"url": "https://example.org/g.whl", "archive_info": {}},
            "pip install 'gpuberth[worker] @ https://example.org/g.whl'",
        ),
    ],
)
def test_the_command_names_where_this_berth_came_from(origin, record, command):
    """The name alone only where an index had it."""
    origin(record)

    assert installing.command("worker") == command


def test_where_the_file_is_gone_the_packages_themselves_are_named(origin):
    """A wheel in a folder for temporary files does not stay there."""
    origin({"url": "file:///nowhere/gpuberth.whl", "archive_info": {}})
    requirements = installing.requirements("worker")

    assert any(line.startswith("psutil") for line in requirements)
    assert installing.command("worker") == "pip install " + " ".join(f"'{r}'" for r in requirements)


def test_no_text_claims_that_an_index_has_berth():
    """Only `installing` may say so, where it came from one."""
    claim = re.compile(r"(pip|pipx|uv tool) install [\"']?gpuberth\b(?![-\w]*\.)")
    texts = {str(path): path.read_text() for path in TEXTS if path.name != "installing.py"}

    assert len(texts) > 400
    assert [path for path, text in texts.items() if claim.search(text)] == []


class TestWithoutTheOtherParts:
    @pytest.fixture(scope="class")
    @classmethod
    def bare(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """An interpreter that has Berth's sources and the base packages, and no others."""
        folder = tmp_path_factory.mktemp("bare")
        venv.create(folder, with_pip=False, symlinks=True)
        (site,) = folder.glob("lib/python*/site-packages")
        ours = Path(metadata.distribution("pydantic").locate_file("")).resolve()
        for name in _BASE:
            for found in (*ours.glob(f"{name}*"), *ours.glob(f"{name.replace('-', '_')}*")):
                if not (site / found.name).exists():
                    (site / found.name).symlink_to(found)
        sources = [str(ROOT / room) for room in ("clients", "server", "worker", "trainer")]
        (site / "berth.pth").write_text("\n".join(sources))
        return folder / "bin" / "python"

    def said(self, bare: Path, *arguments: str, cwd: Path) -> tuple[int, str]:
        environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "BERTH_URL"}}
        done = subprocess.run(
            [bare, *arguments],
            env={**environment, "BERTH_HOME": str(cwd / "home")},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    @pytest.mark.parametrize(
        "arguments",
        [
            ["-m", "berth.cli.main", "up"],
            ["-c", "from berth_trainer.generate import main; main([])"],
            ["-m", "berth_trainer.train_deepspeed", "--help"],
            ["-m", "berth_trainer.demo_workspace", "there"],
            ["-m", "berth.demo"],
        ],
        ids=lambda arguments: arguments[-1],
    )
    def test_what_needs_another_part_says_how_to_get_it(self, bare, tmp_path, arguments):
        """One sentence, no traceback, and nothing is left in the folder."""
        code, output = self.said(bare, *arguments, cwd=tmp_path)

        assert code != 0
        assert "Traceback" not in output
        assert "pip install" in output
        assert list(tmp_path.iterdir()) == []

    def test_a_client_has_no_fault_for_want_of_a_worker(self, bare, tmp_path):
        """`berth doctor` ends with 0 where only the client is installed."""
        code, output = self.said(bare, "-m", "berth.cli.main", "doctor", "--json", cwd=tmp_path)
        levels = {line["what"]: line["level"] for line in json.loads(output)}

        assert levels["gpus"] == "ok"
        assert code == int("fail" in levels.values())
        assert "ModuleNotFoundError" not in output


_BASE = (
    *("httpx2", "httpcore2", "h11", "anyio", "idna", "sniffio", "certifi", "truststore"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions.py", "typing_inspection"),
    *("yaml", "_yaml", "PyYAML", "rich", "markdown_it", "mdurl", "pygments", "Pygments"),
    *("typer", "click", "shellingham", "annotated_doc"),
)


def test_the_worker_is_asked_only_where_it_is_installed(monkeypatch):
    """Its code imports what a client does not have."""
    monkeypatch.setattr(software, "installed", lambda part: part != "worker")

    assert [found.level for found in devices.findings()] == ["ok"]


def test_doctor_finds_an_installation_that_only_root_may_read(monkeypatch, tmp_path):
    """The first folder that is closed is named; an open one is fine."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name, mode in (("open", 0o755), ("closed", 0o700)):
        (tmp_path / name).mkdir(mode=mode)
        (tmp_path / name / "python").touch(0o755)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)

    assert list(software._open_to_all(str(tmp_path / "open" / "python"))) == []
    (found,) = software._open_to_all(str(tmp_path / "closed" / "python"))
    assert str(tmp_path / "closed") in found.sentence
    assert found.level == "warn"


def test_requests_of_the_client_are_not_logged(caplog, fake):
    """A program that shows INFO sees its own lines; a program's own use of the library stays."""
    import httpx2

    import berth

    caplog.set_level("INFO")
    fake.answer("GET", "/healthz", {"status": "ok", "version": "1"})
    with berth.Client("http://berth.test") as client:
        client.liveness()
    assert "HTTP Request" not in caplog.text
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200))) as own:
        own.get("http://elsewhere/")
    assert caplog.text.count("HTTP Request") == 1
