"""The formula against peaks that were measured on real GPUs (docs/trainer.md)."""

from dataclasses import replace

import pytest
from tests.trainer.memory.gemma3 import GEMMA3

from berth_trainer.memory import Setup, estimate, read_shape
from berth_trainer.memory.sizes import GIB

FUSED = Setup(stage=1, fused=True, loss="chunked", chunk_tokens=512, label_tokens=100)
STOCK = replace(FUSED, fused=False)
BARE = {"checkpointing": False}
RECIPE = Setup(tokens=1024, offload_optimizer=True, offload_param=True, by_layers=False)


@pytest.mark.parametrize(
    ("size", "setup", "measured_gib"),
    [
        ("4b", replace(FUSED, tokens=8192, checkpoint_layers=20, label_tokens=136), 72.42),
        ("4b", replace(FUSED, tokens=8192, checkpoint_layers=23, label_tokens=136), 70.01),
        ("4b", replace(FUSED, tokens=16_384, checkpoint_layers=28, label_tokens=257), 72.11),
        ("4b", replace(STOCK, tokens=8192, checkpoint_layers=27, label_tokens=136), 72.0),
        ("4b", replace(FUSED, tokens=8192), 63.45),
        ("4b", replace(FUSED, tokens=8192, checkpoint_layers=26), 67.59),
        ("4b", replace(STOCK, stage=3, tokens=8192), 63.46),
        ("1b", replace(FUSED, tokens=8192, **BARE), 28.46),
        ("1b", replace(FUSED, tokens=4096, **BARE), 21.99),
        ("1b", replace(FUSED, tokens=8192, checkpoint_layers=13), 22.44),
        ("1b", replace(FUSED, tokens=1024), 20.55),
        ("1b", replace(STOCK, tokens=4096, **BARE), 26.78),
        ("1b", replace(FUSED, tokens=8192, loss="stock"), 39.48),
        ("1b", replace(FUSED, stage=2, tokens=8192), 20.55),
        ("1b", replace(FUSED, stage=3, tokens=4096), 20.55),
        ("1b", replace(FUSED, stage=3, tokens=8192, **BARE), 28.48),
        ("1b", replace(FUSED, tokens=4096, states="bf16"), 11.63),
        ("1b", replace(FUSED, tokens=4096, states="8bit"), 14.99),
        ("1b", replace(FUSED, tokens=4096, offload_optimizer=True), 6.6),
        ("1b", replace(FUSED, stage=2, tokens=4096, offload_optimizer=True), 5.34),
        ("1b", replace(FUSED, stage=3, tokens=4096, offload_optimizer=True, by_layers=False), 4.92),
        ("4b", replace(RECIPE, label_tokens=32), 6.33),
    ],
)
def test_the_estimate_meets_measured_peaks_on_an_h100(size, setup, measured_gib):
    """Within 3 % of torch's own peak, which leaves out the CUDA context (docs/trainer.md)."""
    peak = estimate(read_shape(GEMMA3[size]), setup).allocated / GIB
    assert peak == pytest.approx(measured_gib, rel=0.03)


TWO = replace(FUSED, gpus=2, tokens=8192, by_layers=False)  # measured with DeepSpeed's hooks
SHORT = replace(TWO, tokens=4096)


@pytest.mark.parametrize(
    ("size", "setup", "measured_gib"),
    [
        ("4b", replace(TWO, **BARE), 71.06),
        ("4b", replace(TWO, stage=2), 41.88),
        ("4b", replace(TWO, stage=3), 34.70),
        ("1b", replace(TWO, **BARE), 23.82),
        ("1b", TWO, 12.25),
        ("1b", replace(TWO, stage=2, **BARE), 22.92),
        ("1b", replace(TWO, stage=2), 11.34),
        ("1b", replace(TWO, stage=3, **BARE), 22.89),
        ("1b", replace(TWO, stage=3), 11.31),
        ("1b", replace(SHORT, **BARE), 17.35),
        ("1b", SHORT, 11.57),
        ("1b", replace(SHORT, stage=2, **BARE), 16.45),
        ("1b", replace(SHORT, stage=2), 11.25),
        ("1b", replace(SHORT, stage=3, **BARE), 16.42),
        ("1b", replace(SHORT, stage=3), 10.63),
        ("1b", replace(SHORT, stage=3, offload_optimizer=True), 4.12),
        ("1b", replace(SHORT, stage=3, offload_optimizer=True, offload_param=True), 3.18),
    ],
)
def test_the_estimate_meets_measured_peaks_on_two_gpus(size, setup, measured_gib):
    """Within 3 % of the fuller GPU's peak, every stage, with NCCL between two H100."""
    peak = estimate(read_shape(GEMMA3[size]), setup).allocated / GIB
    assert peak == pytest.approx(measured_gib, rel=0.03)


@pytest.mark.parametrize(
    ("size", "rank", "quantized", "tokens", "recomputed", "measured_gib"),
    [
        ("1b", 16, False, 8192, True, 3.48),
        ("1b", 16, False, 4096, False, 8.6),
        ("4b", 16, False, 8192, True, 10.52),
        ("4b", 16, False, 4096, False, 22.45),
        ("4b", 16, True, 8192, True, 6.09),
    ],
)
def test_the_estimate_meets_measured_peaks_of_adapters(
    size, rank, quantized, tokens, recomputed, measured_gib
):
    """LoRA and QLoRA on an H100, within 3 %."""
    shape = read_shape(GEMMA3[size])
    setup = replace(
        FUSED,
        tokens=tokens,
        checkpointing=recomputed,
        lora_parameters=shape.adapter_parameters(rank),
        four_bit=quantized,
    )
    peak = estimate(shape, setup).allocated / GIB
    assert peak == pytest.approx(measured_gib, rel=0.03)


@pytest.mark.parametrize(
    ("gpus", "layers", "measured_gib"),
    [(1, 6, 68.49), (1, 5, 62.33), (1, 3, 50.03), (1, 2, 43.88), (2, 15, 65.11), (2, 7, 40.18)],
)
def test_the_estimate_meets_measured_peaks_of_a_cut_27b(gpus, layers, measured_gib):
    """
    The 27b shape with a few of its layers, whose embedding is a group of its own: stage 1 on one
    GPU, stage 3 on two.
    """
    text = {**GEMMA3["27b"]["text_config"], "num_hidden_layers": layers}
    shape = read_shape({"model_type": "gemma3", "text_config": text})
    setup = replace(FUSED, gpus=gpus, stage=3 if gpus > 1 else 1, tokens=4096, by_layers=False)
    peak = estimate(shape, setup).allocated / GIB
    assert peak == pytest.approx(measured_gib, rel=0.03)


def test_the_estimate_meets_measured_peaks_of_states_on_the_host():
    """
    4b shape, stage 3 by Berth's own hooks, rows of 8,192, on an H200: GPU and host. Everything on
    the host, as the users' recipe: the host alone.
    """
    shape = read_shape(GEMMA3["4b"])
    need = estimate(shape, replace(FUSED, stage=3, tokens=8192, offload_optimizer=True))
    assert need.allocated / GIB == pytest.approx(14.5, rel=0.03)
    for host, measured in ((need.host, 69.6), (estimate(shape, RECIPE).host, 87.6)):
        assert measured <= host / GIB < 1.03 * measured, "a run that does not fit is killed"


PLAIN_TORCH = {"stage": 0, "states": "bf16_only"}


@pytest.mark.parametrize(
    ("setup", "measured_gib"),
    [
        (Setup(tokens=8192), 84.4),
        (Setup(tokens=4096, checkpointing=False), 99.7),
        (Setup(tokens=8192, **PLAIN_TORCH), 54.6),
        (Setup(tokens=4096, checkpointing=False, **PLAIN_TORCH), 69.8),
    ],
)
def test_the_estimate_meets_measured_peaks_on_an_h200(setup, measured_gib):
    """Other code on another GPU, within 5 % and never below by more than 3 %."""
    peak = estimate(read_shape(GEMMA3["4b"]), setup).allocated / GIB
    assert peak == pytest.approx(measured_gib, rel=0.05)
    assert peak > 0.97 * measured_gib
