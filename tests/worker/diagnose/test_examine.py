"""A look at a run's processes: who works, who waits, who is being debugged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from berth_worker.diagnose import examine


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that starts three: one computes, one writes, one waits."""
    script = (
        "import os, time\n"
        "if not os.fork():\n"
        "    while True: pass\n"
        "if not os.fork():\n"
        "    while True: os.write(os.open('/dev/null', 1), b'x' * 100000); time.sleep(0.01)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "RANK": "3"}
    made = subprocess.Popen(
        [sys.executable, "-S", "-c", script],
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert made.stdout is not None
    assert made.stdout.readline() == b"ready\n"
    yield made
    os.killpg(made.pid, signal.SIGKILL)
    made.wait()
    made.stdout.close()


def test_each_process_of_a_run_is_seen_with_what_it_does(child):
    """Processor, bytes, rank and GPU; the one that waits does nothing."""
    found = {one.pid: one for one in examine.examine([child.pid], {child.pid: 5}, over_s=0.5)}
    waits = found.pop(child.pid)
    assert (waits.rank, waits.gpu, waits.debugged) == (3, 5, False)
    assert waits.cpu < 0.1
    assert waits.io_bytes_s < 65536
    assert max(one.cpu for one in found.values()) > 0.05
    assert max(one.io_bytes_s for one in found.values()) > 65536


def test_a_stopped_process_is_held_by_somebody(child):
    """By a debugger, or by hand: it is not for Berth to end."""
    os.kill(child.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while True:
        (first, *_) = (
            one for one in examine.examine([child.pid], {}, over_s=0.05) if one.pid == child.pid
        )
        if first.debugged:
            break
        assert time.monotonic() < deadline


@pytest.fixture
def ranks() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two ranks: one waits for the other, which sleeps somewhere else."""
    script = (
        "import os, time\n"
        "def waits_for_the_other(): print('there', flush=True); time.sleep(600)\n"
        "def lost_in_the_loader(): print('there', flush=True); time.sleep(600)\n"
        "waits_for_the_other() if os.environ['RANK'] == '0' else lost_in_the_loader()\n"
    )
    made = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", script],
            stdout=subprocess.PIPE,
            env={**os.environ, "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    for one in made:
        assert one.stdout is not None
        assert one.stdout.readline() == b"there\n"
    yield made
    for one in made:
        one.kill()
        one.wait()
        assert one.stdout is not None
        one.stdout.close()


def test_the_stacks_of_all_ranks_tell_where_each_of_them_is(ranks, monkeypatch):
    """By py-spy as it is installed beside the worker's Python, whatever PATH says."""
    monkeypatch.setenv("PATH", "/nowhere")
    found = examine.examine([one.pid for one in ranks], {}, over_s=0.05)
    text = examine.stacks(found)
    if text is None:
        pytest.skip("py-spy may not look at other processes here")
    first, second = text.decode().split("--- pid ")[1:]
    assert ", rank 0" in first
    assert "waits_for_the_other" in first
    assert ", rank 1" in second
    assert "lost_in_the_loader" in second


@pytest.mark.parametrize("says", ["exit 1", "echo Permission Denied >&2; exit 1", "exec sleep 60"])
def test_there_are_no_stacks_where_py_spy_may_not_look(child, tmp_path, monkeypatch, says):
    """No file of errors is called the stacks."""
    spy = tmp_path / "py-spy"
    spy.write_text(f"#!/bin/sh\n{says}\n")
    spy.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(examine, "_DUMP_TIMEOUT_S", 0.2)
    assert examine.stacks(examine.examine([child.pid], {}, over_s=0.05)) is None
