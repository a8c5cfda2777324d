"""Requests that a box or a cluster could never fulfil are told so at submit."""

from __future__ import annotations

import pytest

from berth_server.service.jobs.fit import misfit
from berth_server.store.gpus import KnownGpu

GIB = 1 << 30


def gpus(node: str, number: int, memory_gib: int = 80) -> list[KnownGpu]:
    """The GPUs of one node; of a box where it has no name."""
    names = [f"{node}:{i}" if node else f"GPU-{i}" for i in range(number)]
    return [KnownGpu(name, i, "H100", memory_gib * GIB) for i, name in enumerate(names)]


BOX = gpus("", 8)
EVEN = gpus("n1", 8) + gpus("n2", 8)
MIXED = gpus("n1", 8, 140) + gpus("n2", 4) + gpus("n3", 4)
DARK = gpus("n1", 8, 0)


@pytest.mark.parametrize(
    ("asked", "box"),
    [
        ((8, 1, None), BOX),
        ((0, 1, None), BOX),
        ((16, 2, None), EVEN),
        ((12, 3, None), MIXED),
        ((8, 2, 80 * GIB), MIXED),
        ((64, 8, None), []),
    ],
)
def test_what_fits_when_all_is_free(asked, box):
    """Nodes of several sizes count for what each has."""
    assert misfit(*asked, box, share=False) is None


@pytest.mark.parametrize(
    ("asked", "box", "field", "sentence"),
    [
        ((9, 1, None), BOX, "gpus", "this box has 8 GPUs"),
        ((16, 1, None), EVEN, "gpus", "the largest node of the cluster has 8"),
        ((16, 2, None), BOX, "nodes", "Berth runs on this box only"),
        ((24, 3, None), EVEN, "nodes", "the cluster has 2 with GPUs"),
        ((16, 2, None), MIXED, "nodes", "the cluster has 1 of that size"),
        ((16, 2, 100 * GIB), MIXED, "gpu_memory", "too few nodes have that many"),
        ((1, 1, 40 * GIB), DARK, "gpu_memory", "is not known"),
    ],
)
def test_what_never_fits(asked, box, field, sentence):
    """The field at fault, and what there is."""
    wrong = misfit(*asked, box, share=False)
    assert wrong is not None
    assert wrong[0] == field
    assert sentence in wrong[1]


def test_a_share_on_a_cluster():
    """Slurm gives whole GPUs; a share would wait for ever."""
    field, sentence = misfit(1, 1, 20 * GIB, EVEN, share=True) or ("", "")
    assert field == "share"
    assert "whole GPUs only" in sentence
