"""Repair of an optimizer that was loaded on another number of ranks."""

from types import SimpleNamespace

import pytest
import torch

from berth_trainer.checkpoint import universal


@pytest.fixture
def loaded():
    """An engine as DeepSpeed leaves it: one counter for all groups, on the CPU."""

    def make(**options):
        weights = [torch.nn.Parameter(torch.zeros(4, device="meta")) for _ in range(2)]
        groups = [{"params": [one], "weight_decay": 0.1} for one in weights]
        optimizer = torch.optim.AdamW(groups, **options)
        shared = torch.tensor(7.0)
        for one in weights:
            optimizer.state[one]["step"] = shared
        return SimpleNamespace(optimizer=SimpleNamespace(optimizer=optimizer))

    return make


def steps_of(engine):
    return [state["step"] for state in engine.optimizer.optimizer.state.values()]


def test_each_group_counts_its_own_steps_and_has_its_own_decay(loaded):
    """Groups that share a counter would count every step twice."""
    engine = loaded()

    universal.fix_optimizer(engine, [0.1, 0.0])

    first, second = steps_of(engine)
    first += 1
    assert (float(first), float(second)) == (8.0, 7.0)
    assert [group["weight_decay"] for group in engine.optimizer.optimizer.param_groups] == [0.1, 0]


def test_the_counters_lie_where_an_optimizer_of_one_kernel_reads_them(loaded):
    """Fused: on the parameters' device, a GPU's kernel takes nothing else. Else: where they are."""
    fused, plain = loaded(fused=True), loaded()

    for engine in (fused, plain):
        universal.fix_optimizer(engine, [0.1, 0.0])

    assert [one.device.type for one in steps_of(fused)] == ["meta", "meta"]
    assert [one.device.type for one in steps_of(plain)] == ["cpu", "cpu"]
