"""Requests for GPUs that this box, or the cluster, could never fulfil."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from berth_server.core.explain.phrases import count, gib_used
from berth_server.store.gpus import KnownGpu


def misfit(
    gpus: int, nodes: int, least: int | None, box: Sequence[KnownGpu], *, share: bool
) -> tuple[str, str] | None:
    """
    The field that asks for too much, and one sentence; None for a request that fits when all is free.

    `gpus` of `least` bytes each, all in all on `nodes` nodes. An unknown box fits every request.
    """
    sizes = Counter(gpu.node for gpu in box)
    on_cluster = any(sizes.keys() - {""})
    if share and on_cluster:
        return "share", (
            "A cluster gives whole GPUs only, so a share of one cannot run there; leave that out."
        )
    return _too_many_nodes(nodes, sizes) or _too_big(gpus // nodes, nodes, least, box, share=share)


def _too_many_nodes(nodes: int, sizes: Counter[str]) -> tuple[str, str] | None:
    have = len(sizes.keys() - {""})
    if not sizes or nodes < 2 or nodes <= have:
        return None
    if not have:
        return "nodes", (
            f"The job asks for {nodes} machines, but Berth runs on this box only; leave that out."
        )
    return "nodes", (
        f"The job asks for {nodes} nodes, but the cluster has {have} with GPUs; ask for at most "
        f"{have}."
    )


def _too_big(
    gpus: int, nodes: int, least: int | None, box: Sequence[KnownGpu], *, share: bool
) -> tuple[str, str] | None:
    if not gpus or not box:
        return None
    sizes = Counter(gpu.node for gpu in box)
    have = max(sizes.values())
    on_cluster = any(sizes.keys() - {""})
    if gpus > have:
        noun = "GPU" if have == 1 else "GPUs"
        where = "the largest node of the cluster has" if on_cluster else "this box has"
        return (
            "gpus",
            f"The job asks for {gpus} GPUs, but {where} {have} {noun}; ask for at most {have}.",
        )
    big = Counter(gpu.node for gpu in box if gpu.memory_total_bytes >= (least or 0))
    enough = sum(on_node >= gpus for on_node in big.values())
    if enough >= nodes:
        return None
    if least is None:
        return "nodes", (
            f"The job asks for {nodes} nodes with {count(gpus, 'GPU')} each, but the cluster has "
            f"{enough} of that size; ask for fewer nodes, or for fewer GPUs of each."
        )
    return "gpu_memory", _too_little(gpus, nodes, least, box, share=share, on_cluster=on_cluster)


def _too_little(
    gpus: int, nodes: int, least: int, box: Sequence[KnownGpu], *, share: bool, on_cluster: bool
) -> str:
    """The sentence about GPUs of which too few are that large."""
    most = max(gpu.memory_total_bytes for gpu in box)
    if not most:
        return (
            "The memory size of the cluster's GPUs is not known; leave the minimum out, or ask the "
            "admin to set gpu_memory in the table [slurm] of berth.toml."
        )
    if share:
        return (
            f"The job asks for a share of {gib_used(least)} and this box's largest GPU has "
            f"{gib_used(most)}; ask for less."
        )
    asked = f"The job asks for {count(gpus, 'GPU')} with {gib_used(least)} each"
    if on_cluster:
        where = f" on {count(nodes, 'node')}" if nodes > 1 else " on one node"
        return (
            f"{asked}{where}, but too few nodes have that many of that size; the cluster's largest "
            f"GPU has {gib_used(most)}."
        )
    big = sum(gpu.memory_total_bytes >= least for gpu in box)
    return (
        f"{asked}, but this box has {big or 'none'} of that size and its largest has "
        f"{gib_used(most)}; ask for at most that."
    )
