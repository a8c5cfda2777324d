"""Programs named below a home or a variable are read like those named by a whole path."""

from __future__ import annotations

import pytest

from berth.commands import read


@pytest.mark.parametrize(
    ("line", "python", "launcher"),
    [
        ("~/venv/bin/torchrun --nproc_per_node=2 t.py", "~/venv/bin/python", "torchrun"),
        ("$HOME/venv/bin/torchrun --nproc_per_node=2 t.py", '"$HOME/venv/bin/python"', "torchrun"),
        ('"$VENV/bin/deepspeed" --num_gpus 2 t.py', '"$VENV/bin/python"', "deepspeed"),
        ("${VENV}/bin/accelerate launch --num_processes 2 t.py", '"${VENV}/bin/python"', "accelerate"),
        ("~/miniconda3/envs/x/bin/python t.py --gpu_ids 0,1", "~/miniconda3/envs/x/bin/python", "python"),
    ],
)  # fmt: skip
def test_the_launcher_beside_an_interpreter_is_started_by_it(safe, line, python, launcher):
    """The count is read, and the shell still expands the path."""
    view = read(line)

    assert (view.gpus_wanted, view.parts.calls[0].launcher) == (2, launcher)
    assert safe(line).script.startswith(python)
    assert not any("did you mean" in note for note in view.warnings)


@pytest.mark.parametrize(
    "line", ["$PY t.py", '"$HOME/my env/bin/python" t.py', "$(which python) t.py"]
)
def test_what_only_the_shell_knows_stays(safe, line):
    """Nothing is guessed from a variable alone."""
    assert safe(line).script == line


def test_a_hostfile_of_nothing_is_none(safe):
    """--hostfile=/dev/null keeps the box's own hostfile out, as people write it."""
    argv = safe("deepspeed --hostfile=/dev/null --num_gpus 2 t.py").argv
    assert not any("hostfile" in word for word in argv)


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("GPUS=${GPUS:-4}\ntorchrun --nproc_per_node=$GPUS t.py", 4),
        ("torchrun --nproc_per_node=${N:-2} t.py", 2),
        ("N=8\ntorchrun --nproc_per_node=${N:-2} t.py", 8),
        ("torchrun --nproc_per_node=${N} t.py", None),
        ("torchrun --nproc_per_node=${1:-2} t.py", None),
    ],
)
def test_the_default_of_a_variable_is_its_value(text, gpus):
    """Scripts of guides are written so; an argument's is not known."""
    assert read(None, text).gpus_wanted == gpus
