"""Masks: the device files of the GPUs that an attempt must not see."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from berth.protocol.gpus import GpuSnapshot
from berth_worker.devices import pci

_NODE = re.compile(r"nvidia\d+")


class HasUuid(Protocol):
    """A leased GPU: its UUID is all that the fence needs."""

    @property
    def uuid(self) -> str:
        """Its UUID."""
        ...


def others(
    leased: Iterable[HasUuid],
    gpus: Sequence[GpuSnapshot],
    dev: Path = Path("/dev"),
    sys: Path = pci.SYS,
) -> list[str]:
    """
    Return the device files of every GPU that is not leased, sorted.

    Every /dev/nvidiaN counts that is not the node of a leased GPU, known to the driver or not;
    with it the DRM nodes of the same GPUs. MIG's capability nodes are all masked: Berth places
    nothing on a GPU in MIG mode. When the node of a leased GPU is not known the list is empty:
    hiding the wrong GPU would be worse than hiding none.
    """
    wanted = {gpu.uuid for gpu in leased}
    kept = [gpu for gpu in gpus if gpu.uuid in wanted]
    if len(kept) < len(wanted) or any(gpu.minor is None for gpu in kept):
        return []
    names = [pci.sysfs_name(g.pci_bus_id) for g in gpus if g.uuid not in wanted and g.pci_bus_id]
    return _all_but({f"nvidia{gpu.minor}" for gpu in kept}, names, dev, sys)


def every(dev: Path = Path("/dev"), sys: Path = pci.SYS) -> list[str]:
    """Return the device files of all NVIDIA GPUs of the box, for attempts on simulated ones."""
    return _all_but(set(), pci.nvidia_gpus(sys), dev, sys)


def _all_but(kept: Collection[str], pci_names: Collection[str], dev: Path, sys: Path) -> list[str]:
    nodes = [path for path in dev.glob("nvidia*") if _NODE.fullmatch(path.name)]
    masks = [path for path in nodes if path.name not in kept]
    masks += dev.glob("nvidia-caps/nvidia-cap*")
    drm = [dev / "dri" / name for gpu in pci_names for name in pci.drm_nodes(gpu, sys)]
    masks += [path for path in drm if path.exists()]
    return sorted(map(str, masks))
