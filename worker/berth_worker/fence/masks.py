"""Which device files belong to which GPU."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from berth.protocol.gpus import GpuSnapshot

_NODE = re.compile(r"nvidia\d+")


class HasUuid(Protocol):
    """A leased GPU, as far as the fence needs to know it."""

    @property
    def uuid(self) -> str:
        """Its UUID."""
        ...


def others(
    leased: Iterable[HasUuid], gpus: Sequence[GpuSnapshot], dev: Path = Path("/dev")
) -> list[str]:
    """
    The device files of every GPU that is not leased, sorted.

    Every /dev/nvidiaN counts that is not the node of a leased GPU, known to the driver or
    not; with it the DRM nodes of the same cards. MIG's capability nodes are covered whole:
    Berth places nothing on a GPU in MIG mode. When the node of a leased GPU is not known the
    answer is empty: hiding the wrong card would be worse than hiding none.
    """
    wanted = {gpu.uuid for gpu in leased}
    kept = [gpu for gpu in gpus if gpu.uuid in wanted]
    if len(kept) < len(wanted) or any(gpu.minor is None for gpu in kept):
        return []
    minors = {gpu.minor for gpu in kept}
    return _all_but(
        {f"nvidia{minor}" for minor in minors},
        {_sysfs_name(gpu.pci_bus_id) for gpu in gpus if gpu.uuid not in wanted and gpu.pci_bus_id},
        dev,
    )


def every(dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> list[str]:
    """The device files of all NVIDIA GPUs of the box, for attempts on simulated ones."""
    cards: set[str] = set()
    for vendor in sys.glob("bus/pci/devices/*/vendor"):
        if _text(vendor) == "0x10de" and _text(vendor.parent / "class").startswith("0x03"):
            cards.add(vendor.parent.name)
    return _all_but(set(), cards, dev, sys)


def _all_but(
    kept: Collection[str], cards: Collection[str], dev: Path, sys: Path = Path("/sys")
) -> list[str]:
    names = [path for path in dev.glob("nvidia*") if _NODE.fullmatch(path.name)]
    masks = [str(path) for path in names if path.name not in kept]
    masks += [str(path) for path in dev.glob("nvidia-caps/nvidia-cap*")]
    for card in cards:
        for node in sys.glob(f"bus/pci/devices/{card}/drm/*"):
            path = dev / "dri" / node.name
            if path.exists():
                masks.append(str(path))
    return sorted(masks)


def _sysfs_name(bus_id: str) -> str:
    """Turn the driver's 00000000:18:00.0 into the kernel's 0000:18:00.0."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
