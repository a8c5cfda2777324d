"""Masked device files: those of every other GPU, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import LeasedGpu
from berth.protocol.states import FenceKind
from berth_worker.fence import Fence, masks

SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "null", "nvram")


@dataclass(frozen=True)
class Tree:
    """A /dev and a /sys with GPUs in them."""

    dev: Path
    sys: Path
    gpus: list[GpuSnapshot]

    def leased(self, *indices: int) -> list[LeasedGpu]:
        """Leases of these GPUs."""
        return [LeasedGpu(uuid=self.gpus[i].uuid, index=i) for i in indices]

    def names(self, found: list[str]) -> set[str]:
        """The masks, relative to /dev."""
        return {str(Path(path).relative_to(self.dev)) for path in found}


def plant(root: Path, minors: list[int]) -> Tree:
    """Make the trees for GPUs with these minor numbers, in index order."""
    dev, sys = root / "dev", root / "sys"
    (dev / "dri").mkdir(parents=True)
    (dev / "nvidia-caps").mkdir()
    for name in SHARED:
        (dev / name).touch()
    gpus: list[GpuSnapshot] = []
    for index, minor in enumerate(minors):
        bus = 0x18 + index
        card = sys / f"bus/pci/devices/0000:{bus:02x}:00.0"
        for node in (f"card{index + 1}", f"renderD{128 + index}"):
            (card / "drm" / node).mkdir(parents=True)
            (dev / "dri" / node).touch()
        (card / "vendor").write_text("0x10de\n")
        (card / "class").write_text("0x030200\n")
        (dev / f"nvidia{minor}").touch()
        gpus.append(
            GpuSnapshot(
                uuid=f"GPU-{index}",
                index=index,
                minor=minor,
                pci_bus_id=f"00000000:{bus:02X}:00.0",
                name="NVIDIA H100",
                memory_total_bytes=1,
                memory_used_bytes=0,
            )
        )
    # A display controller that is not NVIDIA's (the board's own) is never masked.
    other = sys / "bus/pci/devices/0000:03:00.0"
    (other / "drm/card0").mkdir(parents=True)
    (other / "vendor").write_text("0x1a03\n")
    (other / "class").write_text("0x030000\n")
    (dev / "dri/card0").touch()
    return Tree(dev, sys, gpus)


@settings(deadline=None, max_examples=40)
@given(minors=st.permutations(range(8)), kept=st.sets(st.integers(0, 7)))
def test_exactly_the_others(tmp_path_factory, minors, kept):
    """Whatever the numbering, a job keeps its own nodes and loses those of every other GPU."""
    tree = plant(tmp_path_factory.mktemp("tree"), minors)

    found = tree.names(masks.others(tree.leased(*kept), tree.gpus, tree.dev, tree.sys))

    others = set(range(8)) - kept
    assert found == {f"nvidia{minors[index]}" for index in others} | {
        f"dri/{name}" for i in others for name in (f"card{i + 1}", f"renderD{128 + i}")
    }


def test_nodes_of_mig_instances_are_covered(tmp_path):
    """Berth places nothing on MIG, so no job needs its capability nodes."""
    tree = plant(tmp_path, [0, 1])
    (tree.dev / "nvidia-caps/nvidia-cap1").touch()

    found = tree.names(masks.others(tree.leased(0, 1), tree.gpus, tree.dev, tree.sys))

    assert found == {"nvidia-caps/nvidia-cap1"}


def test_a_gpu_the_driver_does_not_list_is_covered(tmp_path):
    """A node that no known GPU explains is another's."""
    tree = plant(tmp_path, [0, 1])
    (tree.dev / "nvidia5").touch()

    found = tree.names(masks.others(tree.leased(0, 1), tree.gpus, tree.dev, tree.sys))

    assert found == {"nvidia5"}


def test_never_the_wrong_gpu(tmp_path):
    """If a leased GPU's own node is not known, nothing is masked."""
    tree = plant(tmp_path, [0, 1])
    unknown = [tree.gpus[0].model_copy(update={"minor": None}), tree.gpus[1]]

    assert masks.others(tree.leased(0), unknown, tree.dev, tree.sys) == []
    assert masks.others(tree.leased(0), tree.gpus[1:], tree.dev, tree.sys) == []


def test_a_job_without_gpus_sees_none(tmp_path):
    """Nothing leased: every GPU is another's."""
    tree = plant(tmp_path, [0, 1])

    found = tree.names(masks.others([], tree.gpus, tree.dev, tree.sys))

    assert {"nvidia0", "nvidia1"} <= found


def test_real_gpus_are_covered_for_simulated_ones(tmp_path, monkeypatch):
    """An attempt on simulated GPUs is kept off whatever real ones the box has."""
    tree = plant(tmp_path, [1, 0])
    simulated = Fence(
        kind=FenceKind.ADVISORY,
        can_mask=True,
        user_namespace=False,
        drop_capabilities=(),
        simulated=True,
        sentence="",
    )
    monkeypatch.setattr(masks, "every", lambda every=masks.every: every(tree.dev, tree.sys))

    assert tree.names(simulated.masks(tree.leased(0), tree.gpus)) == {
        "nvidia0",
        "nvidia1",
        "dri/card1",
        "dri/card2",
        "dri/renderD128",
        "dri/renderD129",
    }


@pytest.mark.parametrize("simulated", [True, False])
def test_no_masks_where_none_are_possible(tmp_path, simulated):
    """An advisory fence names no paths: they could not be masked."""
    tree = plant(tmp_path, [0, 1])
    fence = Fence(
        kind=FenceKind.ADVISORY,
        can_mask=False,
        user_namespace=False,
        drop_capabilities=(),
        simulated=simulated,
        sentence="",
    )

    assert fence.masks(tree.leased(0), tree.gpus) == []
