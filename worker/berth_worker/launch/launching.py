"""Execution of a planned start: the run directory, then the shim."""

from __future__ import annotations

import contextlib
import json
import os

from berth import jobfiles
from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import DesiredAttempt
from berth_worker.attempts.rundir import RunDir
from berth_worker.launch import code
from berth_worker.launch.plan import HostContext, plan
from berth_worker.launch.shim_launcher import ShimLauncher


def launch(
    desired: DesiredAttempt,
    folder: RunDir,
    host: HostContext,
    shim_launcher: ShimLauncher,
    *,
    directly: bool,
) -> tuple[int, LaunchFacts]:
    """
    Prepare the run directory and start the shim; return our end of the line to it (see
    `ShimLauncher.start`) and the facts.

    May be repeated: a shim that finds the attempt claimed exits. Raises LaunchError for what the
    user can fix, PrologueError for what the admin can, OSError for the box.
    """
    launch_plan = plan(desired, host)
    host.hooks.before(desired)
    owner = launch_plan.owner if os.geteuid() == 0 else None
    folder.make(None if owner is None else (owner, launch_plan.launch["gid"]))
    if launch_plan.code is not None:
        code.make(launch_plan.code, owner)
    for name, content in launch_plan.files.items():
        folder.write(name, content, owner=owner)
    orders = launch_plan.launch | {
        "token": desired.token,
        "files": jobfiles.FOLDER,
        "facts": launch_plan.facts.model_dump(mode="json"),
    }
    folder.write_record("launch.json", json.dumps(orders).encode())
    line = shim_launcher.start(folder.path / "launch.json", directly=directly)
    # Nothing waits for it: it is written while the job starts.
    with contextlib.suppress(OSError):
        folder.write_record("spec.json", desired.model_dump_json().encode())
    return line, launch_plan.facts
