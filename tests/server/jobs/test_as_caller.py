"""Programs that the server runs as a user end within their limits, whatever the user makes of them."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import psutil
import pytest

from berth import snapshots
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs import as_caller
from berth_server.service.jobs.freeze_code import _member

ME = Caller(os.getuid(), "me")
USERS = [
    ME,
    pytest.param(
        Caller(65_534, "nobody"), marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    ),
]


def run(tmp_path: Path, text: str, caller: Caller = ME, timeout_s: float = 5):
    program = tmp_path / "program.py"
    program.write_text(text)
    with (tmp_path / "out").open("wb") as out:
        return as_caller.run(
            program, [], caller, output=out.fileno(), timeout_s=timeout_s, most_bytes=100_000
        )


def test_it_fills_no_disk(tmp_path):
    """Nor does a process that it has started, in a session of its own."""
    text = (
        "import os\nif os.fork() == 0: os.setsid()\n"
        "try:\n    while True: os.write(1, b'x' * 9999)\nexcept OSError: os._exit(7)\n"
    )
    done = run(tmp_path, text)
    assert done is not None
    assert (tmp_path / "out").stat().st_size <= 100_000


def test_it_fills_no_memory_with_what_it_says(tmp_path):
    """Endless words on stderr: the beginning is kept, the rest waits in the pipe."""
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    assert run(tmp_path, "import os\nwhile True: os.write(2, b'x' * 65536)", timeout_s=1) is None
    assert time.monotonic() - began < 10
    assert psutil.Process().memory_info().rss - before < 50 << 20


def test_one_that_does_not_end_is_killed_with_what_it_has_started(tmp_path):
    """Its children hold the pipe open."""
    text = "import os, time\nif os.fork(): open(1, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    assert run(tmp_path, text, timeout_s=1) is None
    group = int((tmp_path / "out").read_text())
    alive = [p for p in psutil.process_iter() if p.pid != os.getpid() and _group(p) == group]
    psutil.wait_procs(alive, 5)
    assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return 0


def test_a_background_child_does_not_hold_up_the_answer(tmp_path):
    """It inherits stderr, as a daemon that git starts would."""
    began = time.monotonic()
    text = "import os, sys, time\nif os.fork() == 0: time.sleep(60)\nsys.exit('said')"
    code, said = run(tmp_path, text, timeout_s=30) or (0, "")
    assert (code, said) == (1, "said")
    assert time.monotonic() - began < 20


def many(count: int) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for number in range(count):
            tar.addfile(tarfile.TarInfo(f"x{number}"))
    return raw.getvalue()


def long_member() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo(snapshots.FACTS)
        member.size = 2_000_000
        tar.addfile(member, io.BytesIO(b"x" * member.size))
    return raw.getvalue()


def huge_header() -> bytes:
    """A pax header that says it is 8 GiB long."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 8 << 30
    return header.tobuf(tarfile.GNU_FORMAT) + b"x" * 4096


ARCHIVES = {
    "empty": b"",
    "noise": os.urandom(100_000),
    "zeros": bytes(100_000),
    "link": None,
    "long": long_member(),
    "many": many(20_000),
    "header": huge_header(),
}


@pytest.mark.parametrize("caller", USERS)
@pytest.mark.parametrize("what", ARCHIVES)
def test_a_hostile_archive_costs_its_owner_an_answer(
    tmp_path, anyones_python, monkeypatch, what, caller
):
    """None of it is read by the server itself."""
    monkeypatch.setattr("sys.executable", anyones_python)
    archive = tmp_path / "archive"
    raw = ARCHIVES[what]
    if raw is None:
        with tarfile.open(archive, "w") as tar:
            link = tarfile.TarInfo(snapshots.FACTS)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
            tar.addfile(link)
    else:
        archive.write_bytes(raw)
    assert _member(archive, snapshots.FACTS, 1_000_000, caller) is None
