"""Pasted commands: the number of GPUs they ask for, and the launcher that starts the ranks."""

from __future__ import annotations

import pytest

from berth.commands import CommandError, read
from berth.protocol.states import Launcher

D, A, T = Launcher.DEEPSPEED, Launcher.ACCELERATE, Launcher.TORCHRUN
P, S, O = Launcher.PYTHON, Launcher.SHELL, Launcher.OTHER  # noqa: E741 - a table's column

PASTED = [
    # DeepSpeed
    (("deepspeed --num_gpus=4 train_deepspeed.py --config config.json "
     "--ablation_config profile_and_history"), D, 4, "train_deepspeed.py"),
    ("deepspeed --num_gpus 2 train.py", D, 2, "train.py"),
    ("deepspeed --num_accelerators=2 train.py", D, 2, "train.py"),
    ("deepspeed --num_g 2 train.py", D, 2, "train.py"),
    ("deepspeed --include localhost:4,5 --master_port 29501 train.py", D, 2, "train.py"),
    ("deepspeed --include=localhost:4,5,6 train.py", D, 3, "train.py"),
    ("deepspeed -i localhost:6,5 train.py", D, 2, "train.py"),
    ("deepspeed --include localhost train.py", D, None, "train.py"),
    ("deepspeed --exclude localhost:0 train.py", D, None, "train.py"),
    ("deepspeed train.py --deepspeed ds_config.json", D, None, "train.py"),
    ("CUDA_VISIBLE_DEVICES=4,5 deepspeed train.py", D, 2, "train.py"),
    ("deepspeed --num_nodes=1 --num_gpus=8 --no_local_rank train.py", D, 8, "train.py"),
    ("deepspeed --module twin.train --num_gpus 4", D, None, None),
    ("deepspeed --num_gpus=4 --module twin.train --x 1", D, 4, None),
    ("python -m deepspeed --num_gpus=3 train.py", D, 3, "train.py"),
    ("python3 -u -m deepspeed.launcher.runner --num_gpus=3 train.py", D, 3, "train.py"),
    ("/home/ada/envs/twin/bin/deepspeed --num_gpus=3 train.py", D, 3, "train.py"),
    ("deepspeed train.py --gpu_ids 4,5,6,7 --max_gpus 8", D, 4, "train.py"),
    ("deepspeed train.py --gpu_ids 4,5,6,7 --max_gpus 2", D, 2, "train.py"),
    ("deepspeed \\\n  --num_gpus=4 \\\n  train.py \\\n  --lr 1e-5 \\\n", D, 4, "train.py"),
    ("$ deepspeed --num_gpus=4 train.py", D, 4, "train.py"),
    ("deepspeed --num_gpus=4 \\  \n train.py", D, 4, "train.py"),
    # accelerate
    (("CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch --num_processes=4 train_deepspeed.py "
     "--config config_realpersonachat.json --ablation_config profile_and_history_and_context "
     "--output_dir X"), A, 4, "train_deepspeed.py"),
    ("accelerate launch --num-processes 2 train.py", A, 2, "train.py"),
    ("accelerate launch --gpu_ids 4,5 train.py", A, 2, "train.py"),
    ("accelerate launch --gpu_ids all train.py", A, None, "train.py"),
    ("accelerate launch train.py --num_processes 4", A, None, "train.py"),
    ("accelerate launch --config_file zero3.yaml --zero_stage 3 --num_processes 8 train.py",
     A, 8, "train.py"),
    ("accelerate-launch --num_processes=2 train.py", A, 2, "train.py"),
    ("python -m accelerate.commands.launch --num_processes 2 -m twin.train", A, 2, None),
    ("python -m accelerate.commands.accelerate_cli launch --num_processes 2 t.py", A, 2, "t.py"),
    ("python /usr/bin/accelerate launch --num_processes 2 t.py", A, 2, "t.py"),
    ("accelerate config", O, None, None),
    # torchrun
    ("torchrun --nproc_per_node=4 train.py", T, 4, "train.py"),
    ("torchrun --nproc-per-node 4 --standalone train.py", T, 4, "train.py"),
    ("torchrun --standalone --nproc_per_node=gpu train.py", T, None, "train.py"),
    ("torchrun --nnodes=1 --nproc-per-node=auto train.py --gpu_ids 0,1", T, 2, "train.py"),
    ("torchrun --nnodes 1:1 --nproc_per_n 2 train.py", T, 2, "train.py"),
    ("python -m torch.distributed.run --nproc_per_node 4 -m twin.train", T, 4, None),
    ("python -m torch.distributed.launch --use_env --nproc_per_node=4 t.py", T, 4, "t.py"),
    ("CUDA_VISIBLE_DEVICES=GPU-1a,GPU-2b torchrun train.py", T, 2, "train.py"),
    # python and others
    ("python train.py", P, None, "train.py"),
    ("CUDA_VISIBLE_DEVICES=3 python -u train.py --lr 1", P, 1, "train.py"),
    ("CUDA_VISIBLE_DEVICES= python train.py", P, 0, "train.py"),
    ("CUDA_VISIBLE_DEVICES=-1 python train.py", P, 0, "train.py"),
    ("CUDA_VISIBLE_DEVICES='4, 5' python train.py", P, 2, "train.py"),
    ("env CUDA_VISIBLE_DEVICES=1,2 FOO=1 python3 train.py", P, 2, "train.py"),
    ("python train.py --gpu_ids 4 5 6 7 --x", P, 4, "train.py"),
    ("python train.py --max_gpus=8", P, 8, "train.py"),
    ("python -W ignore -X dev train.py", P, None, "train.py"),
    ("python -m twin.train --max_gpus 2", P, 2, None),
    ("python -c 'print(1)'", P, None, None),
    ("./evaluate --gpus 4", O, None, None),
    ("bash run.sh 4", S, None, None),
    # wrappers
    ("nohup deepspeed --num_gpus=4 train.py &", D, 4, "train.py"),
    ("nice -n 10 torchrun --nproc_per_node=2 train.py", T, 2, "train.py"),
    ("timeout -s INT 3h python train.py --max_gpus 2", P, 2, "train.py"),
    ("numactl -N 0 -m 0 deepspeed --num_gpus=2 train.py", D, 2, "train.py"),
    ("conda run -n twin --no-capture-output deepspeed --num_gpus 2 train.py", D, 2, "train.py"),
    ("uv run --with peft torchrun --nproc-per-node=2 train.py", T, 2, "train.py"),
    ("env -u http_proxy CUDA_VISIBLE_DEVICES=0,1 python train.py", P, 2, "train.py"),
    # what needs a shell
    ("deepspeed --num_gpus=4 train.py > train.log 2>&1", S, 4, "train.py"),
    ("nohup deepspeed --num_gpus=4 train.py > train.log 2>&1 &", S, 4, "train.py"),
    ("CUDA_VISIBLE_DEVICES=0,1 accelerate launch train.py 2>&1 | tee log", S, 2, "train.py"),
    ("cd ~/twin && deepspeed --num_gpus=2 train.py", S, 2, None),
    ("export CUDA_VISIBLE_DEVICES=4,5,6; torchrun train.py", S, 3, "train.py"),
    ("source env/bin/activate && torchrun --nproc_per_node=2 train.py", S, 2, "train.py"),
    ("torchrun --nproc_per_node=$(nproc) train.py", S, None, "train.py"),
    ("N=4; torchrun --nproc_per_node=$N train.py", S, 4, "train.py"),
    ("accelerate launch --num_processes 2 train.py --data ~/data/*.json", S, 2, "train.py"),
    ("CUDA_VISIBLE_DEVICES=0 python a.py & CUDA_VISIBLE_DEVICES=1 python b.py & wait", S, 2, None),
    ("for a in x y; do deepspeed --num_gpus=2 train.py --ablation_config $a; done", S, 2,
     "train.py"),
    ("bash -c 'deepspeed --num_gpus=2 train.py'", S, 2, "train.py"),
    ("CUDA_VISIBLE_DEVICES=1,2 bash -lc 'python train.py'", S, 2, "train.py"),
    ("time torchrun --nproc_per_node=2 train.py", S, 2, "train.py"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "launcher", "gpus", "script"), PASTED, ids=lambda v: str(v)[:60])
def test_a_pasted_line_tells_its_launcher_gpus_and_script(line, launcher, gpus, script):
    """A pasted line is understood as it is."""
    view = read(line)

    assert (launcher, gpus, script) == (view.launcher, view.gpus_wanted, view.script_path)


REFUSED = [
    ("", "empty"),
    ("   \\\n ", "empty"),
    ("FOO=1", "runs nothing"),
    ("deepspeed --num_gpus=4", "names no script"),
    ("accelerate launch --num_processes 2", "names no script"),
    ("torchrun --nproc_per_node 2", "names no script"),
    ("deepspeed --hostfile hosts train.py", "leave the hostfile out"),
    ("deepspeed -H hosts train.py", "leave the hostfile out"),
    ("deepspeed --num_nodes=2 --num_gpus 4 train.py", "leave it out"),
    ("deepspeed --launcher slurm train.py", "leave --launcher out"),
    ("deepspeed --launcher=pdsh train.py", "leave --launcher out"),
    ("deepspeed --autotuning run train.py", "berth plan"),
    ("deepspeed --include worker-0:0,1 train.py", "write localhost"),
    ("deepspeed --include localhost:0@worker-1:1 train.py", "this box only"),
    ("deepspeed --include localhost:4-7 train.py", "localhost:4,5,6,7"),
    ("torchrun --nnodes=2 --nproc_per_node 4 train.py", "this box only"),
    ("torchrun --nnodes=1:4 train.py", "this box only"),
    ("torchrun --node_rank=1 train.py", "leave it out"),
    ("accelerate launch --num_machines 2 train.py", "leave it out"),
    ("accelerate launch --tpu train.py", "leave it out"),
    ("env -i python train.py", "leave it out"),
    ("deepspeed —num_gpus=4 train.py", "--num_gpus=4"),
    ("python train.py --name 'unclosed", "close it"),
    ('python train.py "unclosed', "close it"),
    ("cd x && deepspeed --hostfile h train.py | tee log", "leave the hostfile out"),
]


@pytest.mark.parametrize(("line", "fix"), REFUSED, ids=lambda v: str(v)[:60])
def test_what_cannot_run_here_is_refused_with_its_fix(line, fix):
    """A command that cannot run on this box is refused in one sentence that says what to do."""
    with pytest.raises(CommandError) as refused:
        read(line)

    sentence = str(refused.value)
    assert fix in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


WARNED = [
    ("CUDA_VISIBLE_DEVICES=4,5 deepspeed --num_gpus=8 train.py", "--num_gpus=8"),
    ("accelerate launch --num_processes 4 --gpu_ids 0,1 train.py", "disagree"),
    ("accelerate launch --cpu --num_processes 4 train.py", "single process"),
    ("torchrun --nproc_per_node 4 train.py --gpu_ids 0,1", "disagree"),
    ("deepspeed train.py", "does not say how many GPUs"),
    ("deepspeed --exclude localhost:0 train.py", "say how many GPUs"),
    ("deepsped --num_gpus=4 train.py", "`deepspeed`"),
    ("accelerate lunch train.py", "`launch`"),
    ("torch_run --nproc_per_node=2 train.py", "`torchrun`"),
    ("sudo deepspeed --num_gpus=2 train.py", "sudo"),
    ("tmux new -s train", "tmux"),
    ("bash run.sh", "run.sh"),
    ("python train.py > out.txt", "out.txt"),
    ("deepspeed $DS_ARGS train.py", "$DS_ARGS"),
    ("python a.py & python b.py", "background"),
    ("torchrun --nproc_per_node 2 a.py & torchrun --nproc_per_node 2 b.py & wait", "at once"),
    ("python train.py --name “x”", "quotes"),
]


@pytest.mark.parametrize(("line", "about"), WARNED, ids=lambda v: str(v)[:60])
def test_what_may_surprise_is_said(line, about):
    """A deviation from the user's expectation is reported in a sentence."""
    assert any(about in sentence for sentence in read(line).warnings), read(line).warnings


def test_the_launchers_flag_counts_when_parts_disagree():
    """Eight ranks are started even where CUDA_VISIBLE_DEVICES names two GPUs."""
    assert read("CUDA_VISIBLE_DEVICES=4,5 deepspeed --num_gpus=8 train.py").gpus_wanted == 8


def test_named_gpus_are_reported():
    """The GPUs that a command names are known in addition to their number."""
    assert read("CUDA_VISIBLE_DEVICES=6,4 python t.py").gpu_indices_wanted == (6, 4)
    assert read("deepspeed --include localhost:4,5 t.py").gpu_indices_wanted == (4, 5)
    assert read("deepspeed --num_gpus 2 t.py").gpu_indices_wanted is None


def test_assignments_and_arguments_are_kept_apart():
    """Leading assignments are not part of the program's words."""
    view = read("CUDA_VISIBLE_DEVICES=4 FOO='a b' python t.py --x \"1 2\"")

    assert view.assignments == {"CUDA_VISIBLE_DEVICES": "4", "FOO": "a b"}
    assert view.argv == ("python", "t.py", "--x", "1 2")
    assert view.script_args == ("--x", "1 2")


def test_a_list_is_taken_word_by_word():
    """Nothing in an argument list is expanded or split."""
    view = read(["python", "t.py", "$HOME", "a b", "*", "> x"])

    assert not view.is_shell
    assert view.argv == ("python", "t.py", "$HOME", "a b", "*", "> x")


def test_a_line_in_a_list_of_one_is_a_line():
    """A whole line that ended up as one element is read as a line."""
    assert read(["deepspeed --num_gpus=4 train.py"]).gpus_wanted == 4
    assert read(["./my run.sh"]).argv == ("./my run.sh",)


def test_a_script_is_looked_into():
    """The launcher inside a script tells the GPUs, variables and all."""
    script = """#!/bin/bash
# run it
export CUDA_VISIBLE_DEVICES=4,5,6,7
NUM_GPUS=4
cat > ds.json <<EOT
{"deepspeed --num_gpus=9 no.py": 1}
EOT
deepspeed --num_gpus=$NUM_GPUS --master_port=29501 \\
    train_deepspeed.py --config "$1"
"""
    view = read(None, script)

    assert (view.launcher, view.is_shell, view.gpus_wanted) == (Launcher.SHELL, True, 4)
    assert view.script_path == "train_deepspeed.py"


def test_a_script_that_cannot_be_read_runs_as_it_is():
    """Text that Berth's reader does not understand is left to bash, with a warning."""
    view = read(None, "case $1 in (a) echo \"it's ok;; esac\n")

    assert view.is_shell
    assert view.warnings
