"""An output folder belongs to one live run, and what an earlier one left stays together."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from berth_trainer.checkpoint import folder_owner, run_state
from berth_trainer.checkpoint.folder_owner import OWNER, is_alive, owned, this_process
from berth_trainer.errors import UserError

HOLD = """
import os, sys
from pathlib import Path
from berth_trainer.checkpoint.folder_owner import owned
with owned(Path(sys.argv[1]), os.environ):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that owns the folder until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "BERTH_ATTEMPT": "42.1"},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_told_who_holds_the_folder(holder, tmp_path):
    """While the first lives; it would move the live checkpoints aside and write between."""
    with (
        pytest.raises(UserError, match=rf"process {holder.pid} on .*, Berth job 42.*--output_dir"),
        owned(tmp_path, {}),
    ):
        pass
    assert folder_owner.live_owner(tmp_path, {}).pid == holder.pid


@pytest.mark.slow
def test_the_trainer_refuses_a_folder_that_is_held(holder, chain):
    """Training and predicting alike, before anything in it is touched."""
    for words in ([], ["--predict"]):
        run = chain(".", *words)
        assert run.code == 2, run.text
        assert f"process {holder.pid} on" in run.text


def test_no_lock_outlives_its_run(holder, tmp_path):
    """A killed run leaves its record behind, and the next one starts at once."""
    holder.kill()
    holder.wait()
    assert (tmp_path / OWNER).exists()

    with owned(tmp_path, {}):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / OWNER).exists()


def test_a_number_of_a_process_is_no_proof(tmp_path):
    """It is used again, by the same machine after a boot and by another process."""
    me = this_process({})

    assert is_alive(me, me) is True
    assert is_alive(replace(me, started="1"), me) is False
    assert is_alive(replace(me, boot="other"), me) is False
    assert is_alive(replace(me, pid=1 << 22), me) is False
    assert is_alive(replace(me, host="other"), me) is None
    assert is_alive(replace(me, namespace="pid:[1]"), me) is None


def test_an_owner_on_another_machine_is_known_by_its_beat(tmp_path, monkeypatch):
    """A mount may keep locks local: one that touches its record lives, one that does not is dead."""
    monkeypatch.setattr(folder_owner, "_WATCHED_S", 1.2)
    record = tmp_path / OWNER
    record.write_text(json.dumps(asdict(replace(this_process({}), host="other"))))
    beat = subprocess.Popen(
        [sys.executable, "-c", "import os, sys, time\nwhile True: os.utime(sys.argv[1]); time.sleep(0.1)", record]
    )  # fmt: skip
    try:
        with pytest.raises(UserError, match="on other"), owned(tmp_path, {}):
            pass
    finally:
        beat.kill()
        beat.wait()

    with owned(tmp_path, {}):  # it was touched a moment ago, and then no more
        pass
    record.write_text(json.dumps(asdict(replace(this_process({}), host="other"))))
    os.utime(record, (1, 1))
    with owned(tmp_path, {}):  # long ago: nothing to watch
        pass


@pytest.fixture
def lockless(monkeypatch):
    """A file system without locks, as some network mounts are."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder_owner.fcntl, "lockf", refuse)
    monkeypatch.setattr(folder_owner, "_SETTLED_S", 0.0)


def test_without_locks_the_record_decides(holder, lockless, tmp_path):
    """While its process lives, and no longer than that: after a kill the folder is free."""
    with pytest.raises(UserError, match=rf"process {holder.pid} on"), owned(tmp_path, {}):
        pass
    holder.kill()
    holder.wait()
    with owned(tmp_path, {}):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()


def test_of_two_that_begin_at_once_without_locks_one_goes_on(lockless, tmp_path, monkeypatch):
    """Both found no owner: the one whose record stands in the end has the folder."""
    other = replace(this_process({}), pid=1, started="1")
    monkeypatch.setattr(
        folder_owner.time,
        "sleep",
        lambda _: (tmp_path / OWNER).write_text(json.dumps(asdict(other))),
    )
    with pytest.raises(UserError, match="process 1 on"), owned(tmp_path, {}):
        pass
    assert json.loads((tmp_path / OWNER).read_text())["pid"] == 1, "it is the other's"


def leave(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_what_an_earlier_run_left_moves_aside_together(tmp_path):
    """Model, results and metrics too, also where there is no checkpoint."""
    work = ["checkpoint-3/latest", "final_model/config.json", "results.json", "metrics.jsonl",
            "predictions.jsonl", "run.json", "plan.json"]  # fmt: skip
    leave(tmp_path, *work, "notes.txt")

    aside = run_state.set_aside(tmp_path)

    assert aside == tmp_path / "earlier_run_1"
    assert all((aside / name).exists() for name in work)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier_run_1", "notes.txt"]
    leave(tmp_path, "results.json")
    assert run_state.set_aside(tmp_path) == tmp_path / "earlier_run_2"
    assert run_state.set_aside(tmp_path) is None


def test_a_move_that_was_cut_short_goes_on(tmp_path):
    """Half of a run in one folder and half in another would be no run."""
    leave(tmp_path, "earlier_run_1/.moving", "earlier_run_1/checkpoint-3/latest", "results.json")

    assert run_state.set_aside(tmp_path) == tmp_path / "earlier_run_1"
    assert sorted(path.name for path in (tmp_path / "earlier_run_1").iterdir()) == ["checkpoint-3", "results.json"]  # fmt: skip


@pytest.mark.slow
def test_predictions_are_never_those_of_an_older_model(chain, tmp_path):
    """
    A run killed before its end leaves the model of the one before: `--predict` says so. A new run
    in the folder moves the finished one aside, whole.
    """
    done = chain("out", "--max_steps", 2, training={"save_steps": 1})
    assert done.code == 0, done.text
    again = chain("out", "--max_steps", 2)
    assert again.code == 0, again.text
    aside = done.out / "earlier_run_1"
    assert {"final_model", "results.json", "metrics.jsonl", "checkpoint-2"} <= {
        path.name for path in aside.iterdir()
    }
    run_state.write(done.out, "running")  # as a killed one leaves it
    refused = chain("out", "--predict")
    assert refused.code == 2
    assert "did not end by itself, and what lies in final_model is older" in refused.text
    named = chain("out", "--predict", done.out / "final_model", predict={"max_new_tokens": 2})
    assert named.code == 0, named.text
