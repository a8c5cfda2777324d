"""Repair of an optimizer that was loaded on another number of ranks."""

from types import SimpleNamespace

import pytest
import torch

from berth_trainer.checkpoint import counters, universal


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


def test_an_optimizer_on_the_host_counts_in_numbers_and_torchs_in_tensors(loaded, monkeypatch):
    """A run that moves its optimizer to the host, or back, loads counters in the other's form."""
    import deepspeed.ops.adam

    class HostAdam(torch.optim.Optimizer):
        pass

    monkeypatch.setattr(deepspeed.ops.adam, "DeepSpeedCPUAdam", HostAdam)
    torchs = loaded().optimizer.optimizer
    host = HostAdam(torchs.param_groups, {})
    host.state.update({one: dict(state) for one, state in torchs.state.items()})

    counters.fit(host)
    there = [state["step"] for state in host.state.values()]
    torchs.state.update({one: dict(state) for one, state in host.state.items()})
    counters.fit(torchs)
    back = [state["step"] for state in torchs.state.values()]

    assert there == [7, 7]
    assert all(type(step) is int for step in there)
    assert all(isinstance(step, torch.Tensor) for step in back)
    assert [float(step) for step in back] == [7.0, 7.0]


def test_a_group_written_by_another_optimizer_gets_this_ones_settings(monkeypatch):
    """Loading replaces the groups; what the other one had no name for would be missing in a step."""
    import deepspeed.ops.adam

    class HostAdam(torch.optim.Optimizer):
        pass

    monkeypatch.setattr(deepspeed.ops.adam, "DeepSpeedCPUAdam", HostAdam)
    parameter = torch.nn.Parameter(torch.zeros(2))
    host = HostAdam([parameter], {"lr": 1.0, "bias_correction": True})
    host.param_groups[0] = {"params": [parameter], "lr": 0.5}

    counters.fit(host)

    assert host.param_groups[0]["lr"] == 0.5
    assert host.param_groups[0]["bias_correction"] is True
