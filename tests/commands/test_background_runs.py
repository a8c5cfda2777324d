"""Lines that put their run out of sight: in the background, in a session, behind a log's tail."""

from __future__ import annotations

import subprocess
import sys

import pytest

from berth.commands import LeaseFacts, Runtime, read, rewrite

RUNTIME = Runtime(python=sys.executable, accelerate_config="/berth/accelerate.yaml")
LEASE = LeaseFacts(indices=(2, 3), visible=(2, 3), port=31007)


def started(line: str):
    """What the worker executes for a line."""
    return rewrite(read(line), LEASE, RUNTIME)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nohup python t.py > log 2>&1 & echo $! > run.pid", 3),
        ("python t.py & disown", 3),
        ("(exit 0); python t.py & echo started", 3),
        ("python ok.py & python t.py &", 3),
        ("python t.py & python ok.py & wait", 0),  # as a shell has it: the line itself says so
        ("python ok.py & echo $! > run.pid", 0),
    ],
)
def test_a_line_waits_for_its_runs_in_the_background(line, code, tmp_path):
    """The job ends with its shell: without waiting it would take the run with it, as a success."""
    (tmp_path / "t.py").write_text("import time; time.sleep(0.3); open('done', 'w'); exit(3)")
    (tmp_path / "ok.py").write_text("import time; time.sleep(0.1); open('done', 'a')")

    ended = subprocess.run(started(line).argv, cwd=tmp_path, check=False)

    assert ended.returncode == code
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("line", ["python a.py & python b.py", "vllm serve m & python b.py"])
def test_a_line_with_a_run_in_the_foreground_ends_with_it(line):
    """A service beside a run is ended with it, and not waited for."""
    assert "berth_code" not in " ".join(started(line).argv)


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("screen -dmS train python t.py --lr 3", [sys.executable, "t.py", "--lr", "3"]),
        ("screen -L -Logfile o.log -S x -d -m python t.py", [sys.executable, "t.py"]),
        ("tmux new-session -d -s train python t.py", [sys.executable, "t.py"]),
        ("tmux new -d -s a 'python t.py'", ["bash", "-c", f"{sys.executable} t.py"]),
        ('screen -dmS a bash -c "python t.py"', ["bash", "-c", f"{sys.executable} t.py"]),
    ],
)
def test_a_detached_session_is_taken_off(line, argv):
    """Its program would leave at once, and the run would be ended as left over."""
    made = started(line)
    assert list(made.argv) == argv
    assert any(change.what.startswith(line.split()[0]) for change in made.changes)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("python t.py & tail -f log", "`tail -f` never ends"),
        ("watch -n 1 nvidia-smi", "`watch` never ends"),
        ("ssh node2 python t.py", "another machine"),
        ("NUM_GPUS=4 bash run.sh", "`NUM_GPUS=4` may be a number of GPUs"),
        ("NGPUS=8 ./run.sh", "`NGPUS=8` may be a number of GPUs"),
        ("make train GPUS=4", "`GPUS=4` may be a number of GPUs"),
    ],
)
def test_what_holds_gpus_or_hides_a_count_is_told(line, said):
    """At submit, with what to write instead."""
    assert any(said in note for note in read(line).warnings)


@pytest.mark.parametrize(
    ("text", "hooked"),
    [
        ("conda activate twin && python t.py", True),
        ("cd /w; conda activate twin; python t.py", True),
        ("source ~/miniconda3/etc/profile.d/conda.sh && conda activate twin", False),
        ('eval "$(conda shell.bash hook)"; conda activate twin', False),
        ("source ~/.bashrc; conda activate twin", False),
        ("python t.py --note 'conda activate'", False),
    ],
)
def test_conda_activate_gets_its_hook(text, hooked):
    """It works in a terminal because `conda init` wrote the hook there; a job's shell has none."""
    assert any(change.what == "conda activate" for change in started(text).changes) == hooked


def test_a_scripts_own_lines_stay_in_their_order():
    """The hook comes behind the first line; a login shell has read it already."""
    script = "#!/bin/bash -e\nconda activate twin\npython t.py\n"
    text = rewrite(read(None, script), LEASE, RUNTIME).argv[-2]
    assert text.startswith('#!/bin/bash -e\neval "$(conda shell.bash hook)"\nconda activate twin\n')
    assert "hook" not in "".join(
        rewrite(read(None, script.replace("-e", "-l")), LEASE, RUNTIME).argv
    )
