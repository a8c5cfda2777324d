"""Attribution of processes to attempts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_worker.devices import processes
from berth_worker.devices.processes import Process, ProcessBook

# Starts a child in a session of its own, says its pid when it runs, then waits for a line.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE,
                         start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
"""
CHILD = "import time; print(flush=True); time.sleep(600)"


def until(condition, what: str):
    """Wait for a condition."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"still not so: {what}")
        time.sleep(0.01)


@pytest.fixture
def family(tmp_path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A marked process with a grandchild-like child in another session."""
    yield from start(tmp_path, mark=True)


@pytest.fixture
def unmarked(tmp_path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The same without a mark."""
    yield from start(tmp_path, mark=False)


def start(home, *, mark: bool):
    """Start parent and child; end both afterwards, also when another process has adopted them."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
    if mark:
        environment |= {"BERTH_ATTEMPT": "42.1", "BERTH_RUN_DIR": str(home / "runs/42/1")}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    child = int(parent.stdout.readline())
    started = processes.read(child).started_ticks
    yield parent, child
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    now = processes.read(child)
    if now is not None and now.started_ticks == started:
        os.kill(child, signal.SIGKILL)


def test_a_process_is_read_truly(unmarked):
    """Pid, parent, state and start are those of the process."""
    parent, child = unmarked

    process = processes.read(child)

    assert process.parent == parent.pid
    assert process.state in "SRD"
    assert 0 <= processes.age_s(process) < 60
    assert process.resident_bytes > 0
    assert processes.alive(child)


def test_a_zombie_is_not_alive():
    """An ended process that was not reaped holds nothing any more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: processes.read(process.pid).state == "Z", "the process has ended")

    assert not processes.alive(process.pid)
    process.wait()
    assert processes.read(process.pid) is None
    assert not processes.alive(process.pid)


def test_a_name_that_looks_like_the_kernels_line(tmp_path):
    """A program's name with brackets and blanks in it does not confuse the reading."""
    link = tmp_path / "a) S 1 (b"
    link.symlink_to(sys.executable)
    process = subprocess.Popen([str(link), "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert processes.read(process.pid).parent == os.getpid()
    finally:
        process.stdin.close()
        process.wait()


def test_descendants_in_other_sessions_belong(unmarked, tmp_path):
    """A child is its attempt's whatever session it runs in, by its parent alone."""
    parent, child = unmarked
    book = ProcessBook(tmp_path)

    assert book.by_attempt({"7.2": [parent.pid]}) == {"7.2": frozenset({parent.pid, child})}
    assert book.attempt_of(child, {parent.pid: "7.2"}) == "7.2"


def test_an_orphan_is_found_by_its_mark(family, tmp_path):
    """With every relative dead, the environment says whose a process is."""
    parent, child = family
    parent.kill()
    parent.wait()
    until(lambda: processes.read(child).parent != parent.pid, "the child has been adopted")
    book = ProcessBook(tmp_path)

    assert book.by_attempt({"42.1": [parent.pid]}) == {"42.1": frozenset({child})}
    assert book.attempt_of(child, {}) == "42.1"


def test_an_orphan_without_a_mark_is_remembered(unmarked, tmp_path):
    """Once known to belong, a process belongs, although it has neither parent nor mark left."""
    parent, child = unmarked
    book = ProcessBook(tmp_path)
    assert book.attempt_of(child, {parent.pid: "7.2"}) == "7.2"

    parent.kill()
    parent.wait()
    until(lambda: processes.read(child).parent != parent.pid, "the child has been adopted")

    assert book.attempt_of(child, {}) == "7.2"
    assert book.by_attempt({"7.2": []}) == {"7.2": frozenset({child})}
    assert ProcessBook(tmp_path).attempt_of(child, {}) is None


def test_a_shim_that_is_taken_up_late(unmarked, tmp_path, monkeypatch):
    """A process without an attempt while its shim was unknown is attributed afterwards."""
    parent, child = unmarked
    monkeypatch.setattr(processes, "YOUNG_S", 0)
    book = ProcessBook(tmp_path)
    assert book.attempt_of(child, {}) is None

    assert book.attempt_of(child, {parent.pid: "7.2"}) == "7.2"


def test_nothing_is_remembered_of_a_shim(unmarked, tmp_path):
    """A shim may serve another attempt later: what is below it then is not the first one's."""
    parent, child = unmarked
    book = ProcessBook(tmp_path)
    assert book.by_attempt({"7.2": [parent.pid]}) == {"7.2": frozenset({parent.pid, child})}

    assert book.attempt_of(parent.pid, {}) is None
    assert book.by_attempt({"7.2": [], "8.1": [parent.pid]})["8.1"] == {parent.pid}


def test_the_mark_of_another_berth_is_not_ours(family, tmp_path):
    """Two Berths on one box use the same ids; a mark counts with its own home only."""
    _, child = family

    assert ProcessBook(tmp_path).attempt_of(child, {}) == "42.1"
    assert ProcessBook(tmp_path / "other").attempt_of(child, {}) is None


def test_the_mark_of_another_user_is_not_believed(tmp_path):
    """Nobody puts a process of his own on another user's attempt."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    marked = {"BERTH_ATTEMPT": "42.1", "BERTH_RUN_DIR": str(tmp_path / "runs/42/1")}
    command = ["/bin/sh", "-c", "echo; read _"]
    book = ProcessBook(tmp_path)
    with subprocess.Popen(
        command, env=marked, user=4321, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        # Put on before the attempt exists, the mark is not remembered when it does.
        before = book.attempt_of(process.pid, {}, {})
        anothers = book.attempt_of(process.pid, {}, {"42.1": 4322})
        own = book.attempt_of(process.pid, {}, {"42.1": 4321})
        process.communicate(b"\n")

    assert (before, anothers, own) == ("42.1", None, "42.1")


@pytest.mark.parametrize("attempt", ["9" * 5000 + ".1", "².1", "1", "../../x.1", "1.1.1", ""])
def test_a_mark_that_names_no_attempt_is_none(tmp_path, attempt):
    """Anybody can write anything into an environment."""
    job, _, number = attempt.partition(".")
    marked = {"BERTH_ATTEMPT": attempt, "BERTH_RUN_DIR": f"{tmp_path}/runs/{job}/{number}/files"}
    command = ["/bin/sh", "-c", "echo; read _"]
    with subprocess.Popen(
        command, env=marked, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        found = ProcessBook(tmp_path).attempt_of(process.pid, {}, {})
        process.communicate(b"\n")
    assert found is None


def test_a_stranger_belongs_to_no_attempt(unmarked, tmp_path):
    """A process without mark and known parent belongs to no attempt, now and when asked again."""
    _, child = unmarked
    book = ProcessBook(tmp_path)

    assert book.attempt_of(child, {}) is None
    assert book.attempt_of(child, {}) is None


def test_who_a_process_is(unmarked, tmp_path):
    """User, command line and start are described; a pid without a process has none."""
    _, child = unmarked

    description = ProcessBook(tmp_path).describe(child)

    assert "time.sleep(600)" in description.command
    assert description.user
    assert ProcessBook(tmp_path).describe(4_194_303) is None


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["python", "train.py", "--lr", "1e-4"], "python train.py --lr 1e-4"),
        (["x", "--hf-token", "hf_abc", "y"], "x --hf-token ******** y"),
        (["x", "--hf_token=hf_abc"], "x --hf_token=********"),
        (["env", "WANDB_API_KEY=1", "y"], "env WANDB_API_KEY=******** y"),
        (["x", "--password", "--verbose"], "x --password --verbose"),
        (["x", "--max_tokens", "5", "--tokenizer", "t"], "x --max_tokens 5 --tokenizer t"),
        (["a\nb", " c "], "a b c"),
        ([""], ""),
    ],
)
def test_commands_are_shown_without_secrets(argv, line):
    """Values of secret-looking options are starred, all else stays readable."""
    assert processes.shorten(argv) == line


@given(st.lists(st.text(max_size=80), max_size=20))
def test_commands_are_one_short_line(argv):
    """Whatever the arguments, the line has no breaks and at most 200 characters."""
    line = processes.shorten(argv)

    assert len(line) <= 200
    assert len(line.splitlines()) <= 1


@given(st.dictionaries(st.integers(1, 40), st.integers(0, 40), max_size=40), st.data())
def test_trees_of_any_shape(parents, data):
    """A tree holds its living roots and exactly those whose chain of parents reaches one."""
    table = {
        pid: Process(pid, parent, 0, "S", 0, 0) for pid, parent in parents.items() if pid != parent
    }
    roots = data.draw(st.frozensets(st.integers(1, 40), max_size=4))

    found = processes.tree(roots, table)

    def reaches(pid: int) -> bool:
        seen: set[int] = set()
        while pid in table and pid not in seen:
            if pid in roots:
                return True
            seen.add(pid)
            pid = table[pid].parent
        return False

    assert found == {pid for pid in table if reaches(pid)}
