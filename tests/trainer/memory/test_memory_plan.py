"""The memory plan against what was counted and measured on real models and cards."""

from __future__ import annotations

import json

import pytest

from berth_trainer.memory import Budget, Setup, ShapeError, choose, estimate, plan, read_shape
from berth_trainer.memory.__main__ import main
from berth_trainer.memory.estimate import CONTEXT_BYTES, GIB

GEMMA3 = {
    "1b": {
        "model_type": "gemma3_text",
        "hidden_size": 1152,
        "num_hidden_layers": 26,
        "intermediate_size": 6912,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "vocab_size": 262_144,
    },
    "4b": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "num_hidden_layers": 34,
            "intermediate_size": 10_240,
        },
    },
    "27b": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 5376,
            "num_hidden_layers": 62,
            "intermediate_size": 21_504,
            "num_attention_heads": 32,
            "num_key_value_heads": 16,
            "head_dim": 128,
        },
    },
}
CARD = int(79.6 * GIB)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("1b", 999_885_952), ("4b", 3_880_263_168), ("27b", 27_009_346_304)],
)
def test_parameters_of_gemma3_are_counted_exactly(size, parameters):
    """The text part's count from config.json equals that of the loaded model."""
    assert read_shape(GEMMA3[size]).parameters == parameters


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("gemma3_text", {"head_dim": 16}),
        ("llama", {}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 16}),
        ("mistral", {}),
        ("gemma2", {"head_dim": 16}),
    ],
)
def test_other_families_are_counted_as_transformers_builds_them(kind, extra):
    """For each known family the arithmetic equals the parameters of the real class."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind,
        hidden_size=64,
        num_hidden_layers=3,
        intermediate_size=160,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=1000,
        **extra,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = read_shape(config.to_dict())
    assert shape.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("setup", "measured_gib"),
    [
        (Setup(tokens=8192), 84.4),
        (Setup(tokens=4096, checkpointing=False), 99.7),
        (Setup(tokens=700), 64.5),
        (Setup(tokens=700, offload_optimizer=True, offload_param=True), 7.7),
    ],
)
def test_the_estimate_meets_measured_peaks_on_an_h200(setup, measured_gib):
    """
    Within 3 %, or 0.3 GiB for the small one, of torch's own peak for the 4b shape under ZeRO-3 on
    one card (docs/trainer.md); that peak leaves out the CUDA context, so the comparison does too.
    """
    peak = estimate(read_shape(GEMMA3["4b"]), setup).gpu - CONTEXT_BYTES
    assert peak / GIB == pytest.approx(measured_gib, rel=0.03, abs=0.3)


def test_27b_in_full_precision_needs_eight_cards_or_offload():
    """Four 80 GB cards cannot hold 27b with fp32 states at any batch; with offload they can."""
    shape = read_shape(GEMMA3["27b"])
    budget = Budget(gpu=CARD, host=2_000 * GIB)
    on_four = plan(shape, budget, Setup(gpus=4))
    assert not any(row.fits for row in on_four if not row.setup.offload_optimizer)
    assert any(row.fits for row in on_four if row.setup.offload_optimizer)
    on_eight = plan(shape, budget, Setup(gpus=8))
    assert any(row.fits for row in on_eight if not row.setup.offload_optimizer)


def test_the_chosen_row_is_the_fastest_that_fits_and_offload_is_the_last_resort():
    """With room for everything nothing is offloaded; without host memory nothing can be."""
    shape = read_shape(GEMMA3["4b"])
    roomy = choose(plan(shape, Budget(gpu=140 * GIB, host=500 * GIB), Setup()))
    assert roomy is not None
    assert not roomy.setup.offload_optimizer
    tight = choose(plan(shape, Budget(gpu=24 * GIB, host=500 * GIB), Setup()))
    assert tight is not None
    assert tight.setup.offload_optimizer
    assert choose(plan(shape, Budget(gpu=24 * GIB, host=8 * GIB), Setup())) is None


@pytest.mark.parametrize("more", [{"tokens": 4096}, {"checkpointing": False}, {"states": "fp32"}])
def test_more_of_anything_never_needs_less(more):
    """Tokens, kept activations and wider states only raise the peak."""
    shape = read_shape(GEMMA3["4b"])
    least = {"tokens": 512, "checkpointing": True, "states": "bf16"}
    assert estimate(shape, Setup(**{**least, **more})).gpu >= estimate(shape, Setup(**least)).gpu


def test_parts_add_up():
    """The parts of an estimate are the whole of it."""
    need = estimate(read_shape(GEMMA3["27b"]), Setup(gpus=8, tokens=4096, loss="chunked"))
    assert sum(need.parts.values()) == need.gpu


@pytest.mark.parametrize(
    ("config", "word"),
    [({"model_type": "t5"}, "t5"), ({"model_type": "llama"}, "hidden_size"), ({}, "unknown")],
)
def test_what_cannot_be_read_is_told_in_a_sentence(config, word):
    """Unknown families and incomplete configurations are named."""
    with pytest.raises(ShapeError, match=word):
        read_shape(config)


def test_the_command_prints_a_table_and_json(tmp_path, capsys):
    """The table marks one row; --json holds every row; what is missing is one sentence."""
    (tmp_path / "config.json").write_text(json.dumps(GEMMA3["4b"]))
    assert main([str(tmp_path), "--gpus", "4", "--host-memory", "500GiB"]) == 0
    assert capsys.readouterr().out.count("→ ") == 1
    assert main([str(tmp_path), "--gpus", "4", "--host-memory", "500GiB", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["chosen"]["fits"] is True
    assert len(body["rows"]) > 50
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
