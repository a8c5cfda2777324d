"""Notes on commands that wait for somebody at a terminal."""

from __future__ import annotations

import pytest

from berth.commands import read


def noted(command: str | None, script: str | None = None) -> bool:
    return any("terminal" in warning for warning in read(command, script).warnings)


@pytest.mark.parametrize(
    "command",
    [
        "bash -i",
        "bash",
        "/usr/bin/zsh -l",
        "python",
        "python3 -i",
        "ipython",
        "python -m pdb train.py",
        "python -m IPython",
        "htop",
        "vim notes.txt",
        "env A=1 bash -i",
        "conda run -n lab bash",
        "cd /x && bash -i",
        "node",
    ],
)
def test_a_program_that_would_end_at_once_is_noted(command):
    """Its input is empty: the job would succeed without having done anything."""
    assert noted(command)


@pytest.mark.parametrize(
    "command",
    [
        "bash run.sh",
        "bash -lic 'python train.py'",
        "sh -c ls",
        "bash -x run.sh",
        "python train.py",
        "python -i train.py",
        "python -c 'print(1)'",
        "python -m train",
        "python - < train.py",
        "cat run.py | python",
        "python -V",
        "top -b -n 1",
        "gdb -batch -ex run ./a.out",
        "tmux new -d",
        "node train.js",
        "deepspeed train.py",
        "bash --version",
    ],
)
def test_a_program_that_runs_something_is_not(command):
    """Scripts, commands and batch modes."""
    assert not noted(command)


def test_a_script_is_read_too():
    """A shell in it is noted; one that is fed is not."""
    assert noted(None, "cd work\nbash -i\n")
    assert not noted(None, "cd work\npython3 train.py\n")
