"""Names of a cluster's GPUs: `n1:3` is the GPU of index 3 on node n1."""

from __future__ import annotations

PLACED = "placed.json"
"""The file of the run directory that says which GPUs Slurm gave the attempt."""


def uuid(node: str, index: int) -> str:
    """Return the name that stands for a GPU's UUID: Slurm knows no other."""
    return f"{node}:{index}"


GANG_END = "gang.json"
"""The file of the run directory that says how a run over several nodes came to its end."""


def beat_file(rank: int) -> str:
    """Return the name of the file by which a node of a run shows that it is alive."""
    return f"beat-{rank}.json"


def node_log(rank: int) -> str:
    """Return the name of the log of a node's ranks; the first node's is the job's own log."""
    return f"node-{rank}.log" if rank else "output.log"
