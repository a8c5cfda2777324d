"""Launchers' files lie where jobs write: reading them cannot wait, follow a device or grow."""

from __future__ import annotations

import os

from berth import launcher_files


def test_a_mapping_is_read_by_the_name_it_was_asked_for(tmp_path):
    """YAML and JSON alike, relative to the job's folder."""
    (tmp_path / "a.yaml").write_text("num_processes: 4\nENV:\n  NPROC_PER_NODE: 2\n")
    (tmp_path / "b.json").write_text('{"num_processes": 3}')

    found = launcher_files.configs(["a.yaml", "b.json", "missing.yaml"], str(tmp_path))

    assert found["a.yaml"]["num_processes"] == 4
    assert found["b.json"] == {"num_processes": 3}
    assert set(found) == {"a.yaml", "b.json"}


def test_what_cannot_be_read_says_nothing(tmp_path):
    """A pipe without a writer, a folder, a list, broken YAML, a huge file, a foreign one."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "list").write_text("- 1\n")
    (tmp_path / "broken").write_text("a: [")
    (tmp_path / "deep").write_text("[" * 30_000)
    (tmp_path / "huge").write_text("a: " + "x" * 100_000)
    (tmp_path / "fine").write_text("a: 1")
    names = ["pipe", "folder", "list", "broken", "deep", "huge", "nul\0"]

    assert launcher_files.configs(names, str(tmp_path)) == {}
    assert launcher_files.configs(["fine"], str(tmp_path), lambda _path: False) == {}
    assert launcher_files.script(str(tmp_path / "pipe")) is None
