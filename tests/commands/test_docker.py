"""Containers get the job's own GPUs, or are refused: no fence reaches them."""

from __future__ import annotations

import pytest

from berth.commands import CommandError, LeaseFacts, Runtime, read, rewrite

LEASE = LeaseFacts(indices=(2, 3), visible=(0, 1), port=31007, uuids=("GPU-c", "GPU-d"))
DEVICES = '"device=GPU-c,GPU-d"'


def started(command, lease=LEASE):
    """The words that are executed."""
    runtime = Runtime(python="/envs/twin/bin/python", accelerate_config="/berth/accelerate.yaml")
    return rewrite(read(command), lease, runtime)


@pytest.mark.parametrize(
    ("command", "gpus"),
    [
        ("docker run --gpus all img python t.py", None),
        ("docker run --gpus 2 --rm -it img python t.py", 2),
        ("docker run --gpus=4 img", 4),
        ("docker run --gpus '\"device=4,5\"' img", 2),
        ("docker run --gpus device=1 img", 1),
        ("docker run --gpus '\"device=0,1\",capabilities=utility' img", 2),
        ("docker run --gpus all img torchrun --nproc_per_node=4 t.py", 4),
        ("docker run --gpus all img bash -c 'accelerate launch --num_processes 2 t.py'", 2),
        ("docker run --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=0,1,2 img", 3),
        ("podman run --device nvidia.com/gpu=0 --device nvidia.com/gpu=1 img", 2),
        ("podman run --device nvidia.com/gpu=all img", None),
        ("nvidia-docker run --gpus 1 img", 1),
    ],
)
def test_the_number_of_gpus_is_read(command, gpus):
    """From its own flags, or from the launcher inside where they say all; else a note asks."""
    view = read(command)
    assert (view.launcher, view.gpus_wanted) == ("docker", gpus)
    assert bool(view.count_notes) == (gpus is None)


@pytest.mark.parametrize(
    "command",
    [
        "docker run --rm --gpus all -v $PWD:/w img python t.py",
        "nohup docker run --gpus all img python t.py > log 2>&1 &",
        "CUDA_VISIBLE_DEVICES=4,5 docker run --gpus '\"device=4,5\"' img python t.py",
        "cd /w && time docker run --gpus=all img python t.py | tee log",
    ],
)
def test_flags_name_the_lease(command):
    """In lines that a shell reads too: UUIDs, which mean the same in every container."""
    text = " ".join(started(command).argv)
    assert f"--gpus '{DEVICES}'" in text or f"--gpus {DEVICES}" in text
    assert "NVIDIA_VISIBLE_DEVICES=GPU-c,GPU-d" in text
    assert "all" not in text.split()
    assert "-e BERTH_ATTEMPT" in text


def test_everything_else_stays():
    """Image, command and other options, in their order."""
    argv = started("docker run --gpus all --shm-size 8g -w /w -e A=1 img t").argv
    assert argv[:8] == ("docker", "run", "--shm-size", "8g", "-w", "/w", "-e", "A=1")
    assert argv[-2:] == ("img", "t")


def test_variables_that_name_gpus_are_replaced():
    """They would choose others past --gpus."""
    text = " ".join(
        started(
            "docker run --runtime nvidia -e NVIDIA_VISIBLE_DEVICES=all "
            "--env CUDA_VISIBLE_DEVICES=6,7 -e MASTER_PORT=29500 img t"
        ).argv
    )
    assert "NVIDIA_VISIBLE_DEVICES=GPU-c,GPU-d" in text
    assert not {"CUDA_VISIBLE_DEVICES=6,7", "MASTER_PORT=29500", "=all"} & set(text.split())


def test_a_job_without_gpus_gives_its_container_none():
    """Also where the image or the daemon would give all of them."""
    none = LeaseFacts(indices=(), visible=(), port=None)
    argv = started("docker run --gpus all img t", none).argv
    assert "--gpus" not in argv
    assert "NVIDIA_VISIBLE_DEVICES=void" in argv


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("docker run -d --gpus 1 img", "leave `-d` out"),
        ("docker run -itd --gpus 1 img", "leave `-d` out"),
        ("docker run --detach --gpus 1 img", "leave `-d` out"),
        ("docker run --privileged img", "--privileged"),
        ("docker run --device=/dev/nvidia0 img", "write --gpus N"),
        ("sudo docker run --gpus all img", "without it"),
        ("docker exec -it box python t.py", "docker run --gpus N"),
        ("docker compose up", "docker run --gpus N"),
        ("docker-compose run trainer", "docker run --gpus N"),
        ("cd x && docker container run --gpus all img", "docker run --gpus N"),
    ],
)
def test_what_cannot_be_kept_to_the_lease_is_refused(command, said):
    """A note alone would let it take the GPUs of others."""
    with pytest.raises(CommandError) as caught:
        read(command)
    assert said in str(caught.value)


@pytest.mark.parametrize("command", ["docker ps", "docker build -t x .", "docker compose pull"])
def test_calls_that_start_nothing_pass(command):
    """They need no GPU."""
    assert started(command).argv == tuple(command.split())


def test_a_container_without_gpus_is_told():
    """The job would hold a GPU that nobody can use."""
    assert any("--gpus 0" in note for note in read("docker run img python t.py").warnings)
