"""Memory sizes as people write them, and the host memory that a container leaves."""

from __future__ import annotations

import os

import pytest

from berth.units import parse_size as parse_size_of_a_job
from berth_trainer.memory import __main__ as command
from berth_trainer.memory.sizes import host_memory, is_decimal, parse_size


@pytest.mark.parametrize("text", ["80GB", "79.6GiB", "512M", "81559 MiB", "1.5T", "64g", "2tb"])
def test_a_size_means_the_same_to_the_queue_and_to_the_plan(text):
    """The trainer runs without the queue's package, but reads the same notation."""
    assert parse_size(text) == parse_size_of_a_job(text)


@pytest.mark.parametrize("text", ["lots", "", "-1G", "12XB", "GiB", "8GiBs"])
def test_what_is_no_size_is_refused(text):
    """The sentence shows the accepted forms."""
    with pytest.raises(ValueError, match="write it like 80GB"):
        parse_size(text)


def test_a_bare_number_is_in_gib_and_only_gb_is_decimal():
    """No one gives the memory of a GPU in bytes."""
    assert parse_size("40") == 40 << 30
    assert [text for text in ("80GB", "80GiB", "80G", "40", "tb") if is_decimal(text)] == ["80GB"]


PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
V2, V1 = "memory.max", "memory/memory.limit_in_bytes"


@pytest.mark.parametrize(
    ("listed", "files", "limit"),
    [
        # version 2: the container's own group, the job's group, a group above it, none at all
        ("0::/", {V2: "1073741824\n"}, 1 << 30),
        ("0::/slurm/job_7", {"slurm/job_7/memory.max": "4096", "slurm/memory.max": "max"}, 4096),
        ("0::/slurm/job_7", {"slurm/job_7/memory.max": "8192", "slurm/memory.max": "4096"}, 4096),
        ("0::/user.slice", {"user.slice/memory.max": "max"}, PHYSICAL),
        # version 1: the same, and its way of saying that there is no limit
        ("4:cpu,cpuacct:/x\n3:memory:/docker/ab", {V1: "4096"}, 4096),
        ("3:memory:/job", {"memory/job/memory.limit_in_bytes": "2048", V1: "4096"}, 2048),
        ("3:memory:/", {V1: "9223372036854771712"}, PHYSICAL),
        # a path of the host, seen from inside a container
        ("0::/../../kubepods/pod1", {V2: "4096"}, 4096),
        # no /proc/self/cgroup
        (None, {V2: "4096"}, 4096),
        (None, {V1: "4096"}, 4096),
        (None, {}, PHYSICAL),
    ],
)
def test_host_memory_is_the_limit_of_the_cgroup(tmp_path, listed, files, limit):
    """A plan must not promise host memory that the container does not have."""
    if listed is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(f"{listed}\n")
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    assert host_memory(tmp_path) == limit


def test_berth_plan_honours_the_limit_too(monkeypatch, tmp_path, capsys):
    """The command's default is what a run would get, not what the machine has."""
    monkeypatch.setattr(command, "host_memory", lambda: 3 << 30)
    from tests.trainer.memory.gemma3 import GEMMA3

    (tmp_path / "config.json").write_text(command.json.dumps(GEMMA3["1b"]))
    command.main([str(tmp_path)])
    assert "host 3 GiB" in capsys.readouterr().out
