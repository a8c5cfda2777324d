"""Placement of an attempt, with what decided it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import Wire
from berth.protocol.message import Message

PlacementRule = Literal[
    "no_choice", "links", "rest_links", "small_cards", "lowest_index", "share", "grown"
]


class Placement(Wire):
    """Facts that decided an attempt's GPUs, at the moment of the choice."""

    free_indices: list[int] = Field(examples=[[0, 1, 2, 3, 5]])
    """The box's indices of the GPUs that it could choose from, its own included."""
    link: str | None = Field(default=None, examples=["NV18"])
    """The weakest link between two of its GPUs, as `nvidia-smi topo -m` names it; absent for one
    GPU and where links are not known."""
    numa_nodes: list[int] = Field(default_factory=list, examples=[[0]])
    """The NUMA nodes of its GPUs, ascending."""
    rule: PlacementRule
    """The decisive comparison: there was nothing to choose, the links between its GPUs, those between the
    GPUs that stay free, the smallest GPUs, the lowest indices, (`share`) the fullest GPU with
    room for its share, or (`grown`) a search that does not compare all of very many choices."""
    sentence: str
    """The same for people, in one to three sentences."""
    sentence_parts: Message = Message()
    """The sentences as typed parts."""
