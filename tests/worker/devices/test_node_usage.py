"""Readings of GPUs on a node of a cluster, by the numbers that Slurm put into CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import subprocess
import sys

from berth_worker.slurm import gpu_use

PROGRAM = """
import sys
from berth_worker.shim import files
from berth_worker.slurm.on_node.usage import Usage
folder = files.open_folder(sys.argv[1])
Usage(folder, 1, {"n2:3": 2, "n2:5": 0}).keep()
"""
MIB = 1 << 20


def beat(folder, environment) -> bytes:
    """The sign of life that a node writes first."""
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], env=environment, check=True)
    return (folder / "beat-1.json").read_bytes()


def test_the_jobs_own_gpus_are_read(nvml, box, tmp_path):
    """Under the names that the map knows; utilisation, memory, temperature, power."""
    box.gpus[2] |= {"used": 70_000 * MIB, "power": 640_000, "temperature": 71}
    box.write()
    use = gpu_use.read(beat(tmp_path, nvml.environment))
    assert set(use) == {"n2:3", "n2:5"}
    assert (use["n2:3"].memory_used_bytes, use["n2:3"].power_w) == (70_000 * MIB, 640.0)
    assert use["n2:3"].temperature_c == 71
    assert use["n2:5"].memory_total_bytes == 81_559 * MIB


def test_a_node_without_a_driver_shows_that_it_is_alive(nvml, tmp_path):
    """Nothing is known of its GPUs, which is not zero."""
    environment = {k: v for k, v in nvml.environment.items() if k != "LD_LIBRARY_PATH"}
    written = beat(tmp_path, environment)
    assert b'"number": 1' in written
    assert gpu_use.read(written) == {}
