"""Carrying out a planned start: the run directory, then the shim."""

from __future__ import annotations

import contextlib
import json
import os

from berth.protocol.internal import DesiredAttempt
from berth.protocol.jobs import LaunchFacts
from berth_worker.attempts.rundir import RunDir
from berth_worker.launch import code
from berth_worker.launch.plan import Surroundings, plan
from berth_worker.launch.shim_launcher import Starter


def launch(
    desired: DesiredAttempt,
    folder: RunDir,
    around: Surroundings,
    starter: Starter,
    *,
    directly: bool,
) -> tuple[int, LaunchFacts]:
    """
    Make the run directory ready and start the shim; its notice pipe (see `Starter.start`) and
    the facts.

    May be repeated: a shim that finds the attempt claimed leaves. Raises LaunchError for what
    the user can mend, OSError for the box.
    """
    planned = plan(desired, around)
    folder.make()
    owner = planned.owner if os.geteuid() == 0 else None
    if planned.code is not None:
        code.make(planned.code, owner)
    for name, content in planned.files.items():
        folder.write(name, content, owner=owner)
    orders = planned.launch | {"facts": planned.facts.model_dump(mode="json")}
    folder.write("launch.json", json.dumps(orders).encode())
    pipe = starter.start(folder.path / "launch.json", directly=directly)
    # Nobody waits for this one: written while the job starts.
    with contextlib.suppress(OSError):
        folder.write("spec.json", desired.model_dump_json().encode())
    return pipe, planned.facts
