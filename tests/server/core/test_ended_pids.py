"""Sentences about GPUs that somebody holds in the place of an ended process."""

from __future__ import annotations

from berth.protocol.gpus import GpuProcess
from berth_server.core.explain import gpu_status

GIB = 1 << 30


def test_who_frees_the_gpu_is_named():
    """Not the pid that the driver lists, which does not exist any more."""
    process = GpuProcess(
        pid=479, user="bob", command="python train.py", memory_bytes=5 * GIB, ended_pid=454
    )
    assert str(gpu_status.outsiders([process])) == (
        "pid 479 of bob (python train.py), left by the ended pid 454: `kill 479` frees 5.0 GiB"
    )


def test_without_a_holder_in_sight_a_command_names_it():
    """An ordinary user's worker cannot look into others' processes."""
    process = GpuProcess(pid=454, memory_bytes=5 * GIB, ended_pid=454)
    said = str(gpu_status.outsiders([process]))
    assert "ended pid 454" in said
    assert "sudo fuser -v /dev/nvidia*" in said
