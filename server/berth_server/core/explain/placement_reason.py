"""Placement reason: what placement compared when it chose GPUs, as a structure and in words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from math import comb

from berth.protocol.attempts import Placement, PlacementRule
from berth.protocol.message import Message
from berth_server.core.explain.phrases import Piece, gib, gpu_list
from berth_server.core.model import GpuView, Links
from berth_server.core.placement import MOST_SETS, Place, link_scores, merit, places

_LINKS = {
    "PIX": "one PCIe switch",
    "PXB": "several PCIe switches",
    "PHB": "the CPU's own PCIe ports",
    "NODE": "PCIe within one NUMA node",
    "SYS": "the link between CPU sockets",
}


def placement_reason(
    among: Sequence[GpuView],
    chosen: Sequence[str],
    links: Links = (),
    *,
    share_bytes: int | None = None,
    joins: bool = False,
    reserved: bool = False,
) -> Placement:
    """
    Explain why `chosen` (UUIDs) were taken of the GPUs `among` which the job could choose.

    `share_bytes`: it leases that part of a GPU; `joins`: beside others that share it already.
    `reserved`: only GPUs that are set aside for the job were looked at.
    """
    ordered = sorted(among, key=lambda gpu: gpu.index)
    own = [gpu for gpu in ordered if gpu.uuid in chosen]
    rule: PlacementRule = "share" if joins else _rule(ordered, own, links)
    weakest, several = _weakest(own, links)
    nodes = sorted({gpu.numa_node for gpu in own if gpu.numa_node is not None})
    alone = share_bytes is not None and not joins
    message = Message.of(
        *_location(own, weakest, nodes, several=several),
        f" No shared GPU had {gib(share_bytes or 0)} free." if alone else "",
        f" {_rule_sentence(rule, own, ordered, reserved=reserved)}",
    )
    return Placement(
        free_indices=[gpu.index for gpu in ordered],
        link=weakest,
        numa_nodes=nodes,
        rule=rule,
        sentence=str(message),
        sentence_parts=message,
    )


def _rule(ordered: Sequence[GpuView], own: Sequence[GpuView], links: Links) -> PlacementRule:
    if len(own) == len(ordered):
        return "no_choice"
    if ordered[0].node is not None:
        return "fullest_node"
    positions = tuple(i for i, gpu in enumerate(ordered) if gpu in own)
    return _deciding(places(ordered), positions, links)


@lru_cache(maxsize=4096)
def _deciding(where: tuple[Place, ...], chosen: tuple[int, ...], links: Links) -> PlacementRule:
    """The first thing compared by which no other set was as good."""
    if comb(len(where), len(chosen)) > MOST_SETS:
        return "grown"
    scores = link_scores(where, links)
    best = merit(scores, where, chosen)
    rivals = [
        merit(scores, where, other)
        for other in combinations(range(len(where)), len(chosen))
        if other != chosen
    ]
    rules: tuple[tuple[int, PlacementRule], ...] = (
        (2, "links"),
        (3, "rest_links"),
        (4, "small_cards"),
    )
    for compared, rule in rules:
        if all(rival[:compared] != best[:compared] for rival in rivals):
            return rule
    return "lowest_index"


def _weakest(own: Sequence[GpuView], links: Links) -> tuple[str | None, bool]:
    """
    The name of the slowest link between its GPUs, and whether some of its links are others.

    None for one GPU or unknown links.
    """
    if len(own) < 2 or max(gpu.index for gpu in own) >= len(links):
        return None, False
    scores = link_scores(places(own), links)
    pairs = list(combinations(range(len(own)), 2))
    a, b = min(pairs, key=lambda pair: scores[pair[0]][pair[1]])
    names = {links[own[i].index][own[j].index] for i, j in pairs}
    return links[own[a].index][own[b].index], len(names) > 1


def _location(
    own: Sequence[GpuView], weakest: str | None, nodes: Sequence[int], *, several: bool
) -> tuple[Piece, ...]:
    """The sentence about its GPUs, their NUMA nodes and how they are linked."""
    one = len(own) == 1
    names = sorted({gpu.node for gpu in own if gpu.node is not None})
    if names:
        where = f"node{'s' if len(names) > 1 else ''} {', '.join(names)}"
        return gpu_list(own), f" {'is' if one else 'are'} on {where}."
    where = f"NUMA node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))}"
    on = f" {'is' if one else 'are'} on {where}" if nodes else ""
    if one:
        return gpu_list(own), f"{on or ' alone'}."
    also = " and" if nodes else ""
    if weakest is None:
        return gpu_list(own), f"{on}{also} are linked in a way the driver does not report."
    kind = "NVLink" if weakest.startswith("NV") else _LINKS.get(weakest, "an unknown link")
    better = " or better" if several else ""
    return gpu_list(own), f"{on}{also} are joined by {kind} ({weakest}){better}."


def _rule_sentence(
    rule: PlacementRule, own: Sequence[GpuView], ordered: Sequence[GpuView], *, reserved: bool
) -> str:
    one, free = len(own) == 1, len(ordered)
    kind = "reserved for it and free" if reserved else "free"
    if rule == "share":
        return "It is the fullest shared GPU with room; emptier ones are kept for bigger shares."
    if rule == "no_choice":
        return f"Only {'this one was' if one else f'these {free} were'} {kind}."
    if rule == "fullest_node":
        return "The fullest nodes with room come first; Slurm has the last word on nodes and GPUs."
    if rule == "links":
        return f"No other {len(own)} of the {free} that were {kind} are linked as well."
    if rule == "grown":
        return (
            f"It was built link by link from the {free} that were {kind}; not every choice was "
            "compared."
        )
    if rule == "rest_links":
        rest = f"the other {free - len(own)}" if free - len(own) > 1 else "the other one"
        return (
            f"Of the {free} that were {kind}, this choice leaves {rest} best linked for later jobs."
        )
    if rule == "small_cards":
        return (
            f"Of equally well linked choices among the {free} that were {kind}, this one has the "
            f"smallest {'GPU' if one else 'GPUs'}; bigger ones are kept for bigger jobs."
        )
    return (
        f"Other choices among the {free} that were {kind} were as good; the lowest "
        f"{'index' if one else 'indices'} won."
    )
