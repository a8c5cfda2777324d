"""Link matrix of the GPUs, with the names of `nvidia-smi topo -m`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pynvml

from berth_worker.devices.nvml.calls import GpuLostError, query

_ANCESTOR = {
    pynvml.NVML_TOPOLOGY_INTERNAL: "PIX",
    pynvml.NVML_TOPOLOGY_SINGLE: "PIX",
    pynvml.NVML_TOPOLOGY_MULTIPLE: "PXB",
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: "PHB",
    pynvml.NVML_TOPOLOGY_NODE: "NODE",
    pynvml.NVML_TOPOLOGY_SYSTEM: "SYS",
}


def matrix(handles: Sequence[Any], bus_ids: Sequence[str | None]) -> tuple[tuple[str, ...], ...]:
    """
    Return the square matrix in the order of `handles`; an unreadable GPU counts as far (SYS).

    Links do not change while the driver is loaded: read them once. Raises DriverGoneError.
    """
    nvlinks = [{} if handle is None else _nvlinks(handle) for handle in handles]
    count = len(handles)
    return tuple(
        tuple(
            "X" if a == b else _name(handles[a], handles[b], _between(nvlinks, bus_ids, a, b))
            for b in range(count)
        )
        for a in range(count)
    )


def _nvlinks(handle: Any) -> dict[str, int]:
    """Active links by what is at their other end: a bus id, or `switch`."""
    ends: dict[str, int] = {}
    try:
        for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
            active = query(pynvml.nvmlDeviceGetNvLinkState, handle, link)
            if active is None:
                # Links are counted without gaps: the first that is not there ends the list.
                break
            if not active:
                continue
            kind = query(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link)
            end = "switch"
            if kind != pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
                remote = query(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link)
                if remote is None:
                    continue
                end = bus_id(remote)
            ends[end] = ends.get(end, 0) + 1
    except GpuLostError:
        return {}
    return ends


def bus_id(info: Any) -> str:
    """Return the PCI bus id of an NVML record, like 00000000:18:00.0."""
    raw = info.busId
    return (raw.decode() if isinstance(raw, bytes) else str(raw)).upper()


def _between(
    nvlinks: Sequence[dict[str, int]], bus_ids: Sequence[str | None], a: int, b: int
) -> int:
    direct = nvlinks[a].get(bus_ids[b] or "?", 0)
    return direct or min(nvlinks[a].get("switch", 0), nvlinks[b].get("switch", 0))


def _name(a: Any, b: Any, links: int) -> str:
    if links:
        return f"NV{links}"
    if a is None or b is None:
        return "SYS"
    try:
        level = query(pynvml.nvmlDeviceGetTopologyCommonAncestor, a, b)
    except GpuLostError:
        return "SYS"
    return "SYS" if level is None else _ANCESTOR.get(level, "SYS")
