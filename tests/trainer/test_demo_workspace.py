"""The demo workspace: the same bytes every time, and small."""

import filecmp
import os
import subprocess
import sys

from berth_trainer.config.config_file import read_settings
from berth_trainer.data.load import load_material
from berth_trainer.demo_workspace import main, make


def files_of(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_it_holds_what_both_configs_need(workspace):
    """Model, data in both formats, two config files that give no warning."""
    for name in ("config.json", "config_realpersonachat.json"):
        settings = read_settings(workspace / name)
        material = load_material(settings)

        assert settings.warnings == ()
        assert len(material.corpus.dialogues) >= 24
        assert material.splits.train
        assert material.splits.validation
        assert material.splits.test
    assert "//" in (workspace / "config_realpersonachat.json").read_text("utf-8")


def test_it_is_small(workspace):
    """A demo downloads nothing and fills no disk."""
    assert sum(path.stat().st_size for path in workspace.rglob("*") if path.is_file()) < 8_000_000


def test_a_second_call_leaves_it_as_it_is(workspace, capsys):
    """Idempotent, as every other set-up step."""
    before = {name: (workspace / name).stat().st_mtime_ns for name in files_of(workspace)}

    assert main([str(workspace)]) == 0
    assert "already there" in capsys.readouterr().out
    assert before == {name: (workspace / name).stat().st_mtime_ns for name in files_of(workspace)}
    assert not make(workspace)


def test_another_process_writes_the_same_bytes(workspace, tmp_path):
    """Tokenizer, weights and dialogues are drawn from fixed seeds."""
    subprocess.run(
        [sys.executable, "-m", "berth_trainer.demo_workspace", str(tmp_path)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )

    names = [name for name in files_of(workspace) if not name.startswith("outputs/")]
    assert names == files_of(tmp_path)
    assert (names, [], []) == filecmp.cmpfiles(workspace, tmp_path, names, shallow=False)
