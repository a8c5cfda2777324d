"""
The batch process of a job on one node: it plans the launch there and keeps the attempt's shim.

`python -m berth_worker.slurm.on_node.single RUN_DIR`. Only the node knows which GPUs Slurm gave
it, so the command is rewritten here, with the numbers that CUDA_VISIBLE_DEVICES holds. The process
ends as the job did, so that Slurm's record agrees with the exit record.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

from berth_worker.launch import LaunchError
from berth_worker.shim import files, self_setup
from berth_worker.slurm.on_node import launching
from berth_worker.slurm.on_node.shim_process import (
    Overseer,
    ShimProcess,
    StopRequests,
    end_alike,
)
from berth_worker.slurm.placed import GANG_END, PLACED

_LOOK_S = 1.0
_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def main(run_dir: str) -> int:
    """Run the attempt of a run directory; return its exit code."""
    overseer = Overseer()
    folder = files.open_folder(run_dir)
    if launching.exists(folder, "started"):
        return 0  # an earlier run of the same job has it, or it was stopped before its start
    os.umask(0o022)
    stops = StopRequests(run_dir)
    desired = launching.read_spec(folder)
    held = launching.held_here(desired)
    try:
        port = launching.free_port() if held else None
        launch_plan = launching.plan_here(desired, held, port=port)
    except LaunchError as error:
        return launching.refuse(folder, desired, str(error))
    files.replace(folder, PLACED, launching.as_json(held))
    # A duplicate of this job may plan at the same moment: each has a file of its own.
    number = launching.slurm_job()
    name = f"launch-{number}.json"
    launching.write_orders(folder, name, desired, launch_plan, {"slurm_job": number})
    signal.pthread_sigmask(signal.SIG_BLOCK, self_setup.BLOCKED)
    shim = ShimProcess(f"{run_dir}/{name}")
    usage = launching.usage(folder, 0, held)
    orphaned = False
    while (status := shim.ended()) is None:
        if launching.claimed_by(folder) == number:
            usage.keep()
        if overseer.is_gone and not orphaned:
            orphaned = True
            end = {"lost": launching.node_name(), "orphaned": True}
            with contextlib.suppress(OSError):
                files.replace(folder, GANG_END, json.dumps(end).encode())
            shim.stop()
        elif stops.is_new():
            shim.stop()
        received = signal.sigtimedwait(self_setup.BLOCKED, _LOOK_S)
        if received is not None and received.si_signo in _STOPPING:
            shim.stop()
    return end_alike(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
