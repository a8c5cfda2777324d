"""docs/devices.md is true and whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from berth.protocol.gpus import BoxSnapshot, GpuSnapshot
from berth.protocol.states import FenceKind
from berth_worker.devices import detect_devices
from berth_worker.devices.models import MODELS
from berth_worker.devices.nvml import xids
from berth_worker.devices.simulation_file import Simulation

TEXT = (Path(__file__).parents[3] / "docs" / "devices.md").read_text()


@pytest.mark.parametrize(
    "name",
    sorted(
        {*GpuSnapshot.model_fields, *BoxSnapshot.model_fields, *Simulation.model_fields}
        - {"taken_at", "source", "gpus", "host_memory_total_bytes", "host_memory_available_bytes"}
    ),
)
def test_every_field_is_reported(name):
    """Every field of a snapshot and of the control file has its line."""
    assert f"`{name}`" in TEXT


def test_every_model_and_fence_is_reported():
    """Every model that can be simulated and every kind of fence is named."""
    assert all(model.short in TEXT for model in MODELS.values())
    assert all(f"| `{kind.value}` |" in TEXT for kind in FenceKind)


def test_every_serious_xid_is_reported():
    """The Xid numbers listed as serious are exactly those that make a GPU unhealthy."""
    (listed,) = re.findall(r"a serious Xid event: ([\d, ]+)", TEXT)

    serious = {number for number in range(1, 300) if xids.sentence(number)}
    assert {int(number) for number in listed.strip(" ,").split(", ")} == serious


def test_the_example_of_the_control_file_works(tmp_path):
    """The control file shown does what it says."""
    (example,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "simulated.json").write_text(example)

    gpus = detect_devices("sim:8", tmp_path).snapshot({}).gpus

    assert json.loads(example).keys() == Simulation.model_fields.keys()
    assert [p.user for p in gpus[3].processes] == ["bob"]
    assert not gpus[2].health.ok
    assert gpus[1].memory_used_bytes == 2 * 1024**3
    assert gpus[5].mig
