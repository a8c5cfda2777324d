"""NVIDIA GPUs on the PCI bus, as the kernel lists them without their driver."""

from __future__ import annotations

from pathlib import Path

SYS = Path("/sys")


def nvidia_gpus(sys: Path = SYS) -> list[str]:
    """Return the kernel's names (0000:18:00.0) of all NVIDIA display and 3D controllers, sorted."""
    found = [
        vendor.parent.name
        for vendor in sys.glob("bus/pci/devices/*/vendor")
        if _text(vendor) == "0x10de" and _text(vendor.parent / "class").startswith("0x03")
    ]
    return sorted(found)


def sysfs_name(bus_id: str) -> str:
    """Turn the driver's 00000000:18:00.0 into the kernel's 0000:18:00.0."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def numa_node(bus_id: str, sys: Path = SYS) -> int | None:
    """Return a GPU's NUMA node; None where the box has only one or does not say."""
    node = _text(sys / "bus/pci/devices" / sysfs_name(bus_id) / "numa_node")
    return int(node) if node.isdigit() else None


def drm_nodes(name: str, sys: Path = SYS) -> list[str]:
    """Return the names in /dev/dri (card1, renderD128) of the GPU with this kernel name."""
    return sorted(path.name for path in sys.glob(f"bus/pci/devices/{name}/drm/*"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
