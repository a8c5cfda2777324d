"""Reasons of a waiting job on a cluster: free GPUs may be enough in number, on too many nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.server.core.scenes import NOW, box, job, running

from berth_server.core.explain.explanation import explain
from berth_server.core.model import Snapshot
from berth_server.core.policy import plan
from berth_server.core.settings import PolicySettings


@pytest.mark.parametrize(
    ("wanted", "needs"),
    [(job(3, 4), "4 GPUs on one node"), (job(3, 6, nodes=2), "3 GPUs on each of 2 nodes")],
)
def test_free_gpus_on_too_many_nodes(wanted, needs):
    """Enough are free in all, and on no node as many as it needs."""
    busy = (running(1, range(2), None), running(2, range(4, 6), None))
    gpus = tuple(replace(gpu, node=f"n{gpu.index // 4}") for gpu in box(*busy))
    if wanted.nodes > 1:
        busy = (*busy, running(4, range(2, 3), None))
        gpus = tuple(replace(gpu, node=f"n{gpu.index // 4}") for gpu in box(*busy))
        gpus = (
            *gpus,
            *(replace(gpus[6], uuid=f"GPU-{i}", index=i, node=f"m{i}") for i in (8, 9, 10)),
        )
    snapshot = Snapshot(now=NOW, gpus=gpus, queue=(wanted,), running=busy)
    shown = explain(snapshot, plan(snapshot, PolicySettings()), 3)
    scattered = next(reason for reason in shown.reasons if reason.kind == "scattered")
    assert scattered.sentence.endswith(f"free, but on too many nodes: it needs {needs}.")
    assert not [reason for reason in shown.reasons if reason.kind == "claimed"]
