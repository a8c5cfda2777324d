"""Writing a planned start into its run directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from berth.protocol.internal import DesiredAttempt
from berth.protocol.jobs import LaunchFacts
from berth_worker.launch.plan import Surroundings, plan
from berth_worker.rundir import RunDir


def write(
    desired: DesiredAttempt, folder: RunDir, around: Surroundings
) -> tuple[Path, LaunchFacts]:
    """
    Make the run directory ready; the path of launch.json and the facts.

    May be repeated. Raises LaunchError for what the user can mend, OSError for the box.
    """
    folder.make()
    folder.write("spec.json", desired.model_dump_json().encode())
    planned = plan(desired, around)
    owner = planned.owner if os.geteuid() == 0 else None
    for name, content in planned.files.items():
        folder.write(name, content, owner=owner)
    launch = planned.launch | {"facts": planned.facts.model_dump(mode="json")}
    folder.write("launch.json", json.dumps(launch).encode())
    return folder.path / "launch.json", planned.facts
