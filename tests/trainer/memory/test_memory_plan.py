"""The memory plan against what was counted and measured on real models and GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.trainer.memory.gemma3 import GEMMA3

from berth_trainer.memory import Budget, Setup, ShapeError, choose, estimate, plan, read_shape
from berth_trainer.memory.__main__ import main, options_parser
from berth_trainer.memory.search import fewest_layers
from berth_trainer.memory.sizes import GIB
from berth_trainer.memory.speed import tokens_per_s

CARD = int(79.6 * GIB)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("1b", 999_885_952),
        ("4b", 3_880_263_168),
        ("12b", 11_766_034_176),
        ("27b", 27_009_346_304),
    ],
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


@pytest.mark.parametrize(("size", "bytes_per_hidden"), [("1b", 98), ("4b", 83), ("27b", 82)])
def test_activations_of_a_stock_layer_are_as_counted(size, bytes_per_hidden):
    """Saved-tensor hooks at the real widths counted so many bytes a token and layer."""
    shape = read_shape(GEMMA3[size])
    assert shape.activation_bytes() / shape.hidden == pytest.approx(bytes_per_hidden, rel=0.01)


@pytest.mark.parametrize(
    ("stage", "gpus", "during_backward"),
    [(1, 1, 16.0), (1, 2, 10.0), (2, 1, 16.0), (3, 1, 16.02), (3, 2, 8.03)],
)
def test_states_are_those_of_live_deepspeed_engines(stage, gpus, during_backward):
    """
    Bytes per parameter and GPU while gradients are accumulated, counted from the live tensors of
    DeepSpeed 0.19.8 on CPU ranks with bf16 weights and fp32 states. Stage 2 has two more at the end
    of a backward pass, which are no states.
    """
    shape = read_shape(GEMMA3["4b"])
    parts = estimate(shape, Setup(stage=stage, gpus=gpus)).parts
    assert parts["model states"] / shape.parameters == pytest.approx(during_backward, rel=0.01)


def test_27b_in_full_precision_needs_eight_gpus_or_offload():
    """
    Four 80 GB GPUs cannot hold 27b with fp32 states at any batch, and the verdict says that the
    states are the reason; with offload they can, and eight GPUs can without.
    """
    shape = read_shape(GEMMA3["27b"])
    budget = Budget(gpu=CARD, host=2_000 * GIB)
    on_four = plan(shape, budget, Setup(gpus=4))
    whole = [row for row in on_four if not row.setup.offload_optimizer]
    assert not any(row.fits for row in whole)
    least = min(whole, key=lambda row: row.need.gpu)
    assert "model states" in least.verdict
    assert least.need.parts["model states"] / GIB == pytest.approx(101, rel=0.01)
    assert any(row.fits for row in on_four if row.setup.offload_optimizer)
    on_eight = plan(shape, budget, Setup(gpus=8))
    assert any(row.fits for row in on_eight if not row.setup.offload_optimizer)


@pytest.mark.parametrize(
    ("loss", "tokens", "predicted_gib"),
    [("chunked", 4096, 66), ("stock", 4096, 71), ("chunked", 8192, 69), ("stock", 8192, 86)],
)
def test_27b_on_eight_gpus_is_as_predicted_by_hand(loss, tokens, predicted_gib):
    """The sums of a study before anything was measured on several GPUs, within 7 %."""
    shape = read_shape(GEMMA3["27b"])
    need = estimate(shape, Setup(gpus=8, loss=loss, tokens=tokens)).gpu / GIB
    assert need == pytest.approx(predicted_gib, rel=0.07)


def test_as_few_layers_are_recomputed_as_fit():
    """One layer fewer would not fit; all layers would leave room."""
    shape = read_shape(GEMMA3["4b"])
    budget = Budget(gpu=CARD, host=64 * GIB)
    setup = Setup(stage=1, tokens=8192, loss="chunked", fused=True)
    fewest = fewest_layers(shape, budget, setup)
    assert fewest is not None
    assert 0 < fewest < shape.layers

    def peak(layers):
        return estimate(shape, replace(setup, checkpointing=True, checkpoint_layers=layers))

    assert budget.fits(peak(fewest))
    assert not budget.fits(peak(fewest - 1))
    assert fewest_layers(shape, Budget(gpu=40 * GIB, host=64 * GIB), setup) is None


PACKED = Setup(
    stage=1,
    fused=True,
    loss="chunked",
    chunk_tokens=512,
    tokens=8192,
    span=1024,
    label_tokens=136,
)
COMPILED = replace(PACKED, compiled=True)


@pytest.mark.parametrize(
    ("size", "setup", "accumulation", "measured", "within"),
    [
        ("4b", replace(PACKED, checkpoint_layers=20), 4, 11_336, 0.05),
        ("4b", replace(COMPILED, checkpoint_layers=20), 4, 17_051, 0.05),
        ("4b", replace(COMPILED, tokens=16_384, checkpoint_layers=28), 4, 17_643, 0.05),
        ("4b", replace(PACKED, fused=False, checkpoint_layers=27), 4, 10_975, 0.05),
        ("4b", replace(PACKED, fused=False, stage=3, by_layers=False), 4, 8_151, 0.05),
        ("4b", replace(COMPILED, stage=3, tokens=4096), 4, 11_864, 0.15),
        ("4b", replace(COMPILED, stage=3), 4, 16_121, 0.2),
        ("4b", replace(COMPILED, stage=3, offload_optimizer=True), 4, 8_793, 0.2),
        ("4b", replace(COMPILED, checkpointing=False, gpus=2), 4, 35_966, 0.08),
        ("4b", replace(COMPILED, stage=2, gpus=2), 2, 21_874, 0.15),
        ("4b", replace(COMPILED, stage=3, gpus=2), 2, 13_336, 0.3),
        ("1b", replace(PACKED, checkpointing=False), 4, 34_300, 0.05),
        ("1b", replace(COMPILED, checkpointing=False), 4, 48_269, 0.05),
        ("1b", replace(PACKED, tokens=4096, offload_optimizer=True), 2, 7_697, 0.25),
    ],
)
def test_speed_follows_the_runs_it_was_fitted_to(size, setup, accumulation, measured, within):
    """One and two H100, by layers an H200; full fine-tuning of packed rows (docs/trainer.md)."""
    speed = tokens_per_s(read_shape(GEMMA3[size]), setup, step_tokens=setup.tokens * accumulation)
    assert speed == pytest.approx(measured, rel=within)


def test_one_sample_a_micro_batch_is_reported_to_be_slow():
    """The recipe that never runs out of memory made 295 to 357 tokens a second."""
    recipe = Setup(tokens=700, offload_optimizer=True, offload_param=True)
    assert tokens_per_s(read_shape(GEMMA3["4b"]), recipe, step_tokens=2800) < 600


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


def test_every_row_holds_what_a_step_holds():
    """A larger micro-batch than the step's tokens would change what is learned."""
    rows = plan(
        read_shape(GEMMA3["1b"]), Budget(gpu=CARD, host=99 * GIB), Setup(), step_tokens=8192
    )
    assert max(row.setup.tokens for row in rows) == 8192


@pytest.mark.parametrize("four_bit", [False, True])
def test_adapters_take_little_in_addition_to_the_frozen_weights(four_bit):
    """LoRA leaves the weights, in 4 bits a third of them, and hardly any optimizer states."""
    shape = read_shape(GEMMA3["27b"])
    setup = Setup(stage=1, lora_parameters=shape.adapter_parameters(16), four_bit=four_bit)
    states = estimate(shape, setup).parts["model states"] / GIB
    assert states == pytest.approx(17.5 if four_bit else 52, rel=0.05)
    with pytest.raises(ValueError, match="below 3"):
        estimate(shape, replace(setup, stage=3, four_bit=True))


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
    [
        ({"model_type": "t5"}, "t5"),
        ({"model_type": "llama"}, "hidden_size"),
        ({}, "unknown"),
        (GEMMA3["1b"] | {"hidden_size": "big"}, 'hidden_size "big"; it should be a whole number'),
        (GEMMA3["1b"] | {"num_hidden_layers": 0}, "num_hidden_layers 0"),
        (GEMMA3["1b"] | {"vocab_size": -5}, "vocab_size -5"),
        (GEMMA3["1b"] | {"num_attention_heads": 8.5, "head_dim": None}, "num_attention_heads 8.5"),
    ],
)
def test_what_cannot_be_read_is_reported_in_a_sentence(config, word):
    """Unknown families and incomplete configurations are named."""
    with pytest.raises(ShapeError, match=word):
        read_shape(config)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--four-bit"], "--four-bit needs --lora R"),
        (["--gpu-memory", "lots"], "write it like 80GB, 40GiB or 81559MiB"),
        (["--gpus", "0"], "a whole number of at least 1"),
        (["--lora", "16", "--four-bit", "--stage", "3"], "a ZeRO stage below 3"),
        (["--states", "fp16"], "choose from"),
    ],
)
def test_a_wrong_option_is_one_sentence(tmp_path, capsys, words, sentence):
    """Like every mistake on Berth's command line: exit code 2, no usage, no module's name."""
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), *words])

    reported = capsys.readouterr().err
    assert reported.startswith("berth: ")
    assert sentence in reported
    assert reported.count("\n") == 1


def test_a_reader_who_stops_early_is_no_fault(tmp_path):
    """`berth plan … | head -1` says nothing of pipes."""
    (tmp_path / "config.json").write_text(json.dumps(GEMMA3["4b"]))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "berth_trainer.memory", str(tmp_path), "--gpus", "4"]
    try:
        done = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (0, "")


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


def test_the_command_plans_over_several_nodes(tmp_path, capsys):
    """The host's memory is that of each node; GPUs are spread evenly."""
    (tmp_path / "config.json").write_text(json.dumps(GEMMA3["4b"]))
    words = [str(tmp_path), "--gpus", "16", "--nodes", "2", "--host-memory", "500GiB"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "on 16 GPUs on 2 nodes of 79.6 GiB, host 1000 GiB" in told
    assert "nothing of the network between the nodes" in told
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--gpus", "3", "--nodes", "2"])
    assert "cannot be spread evenly" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "gib"), [("80GB", 74.505806), ("80GiB", 80), ("40", 40), ("81559 MiB", 79.647461)]
)
def test_a_note_says_what_gb_were_taken_for(tmp_path, capsys, word, gib):
    """A GPU sold as 80 GB has more: what was taken is said, with the way to say the other."""
    (tmp_path / "config.json").write_text(json.dumps(GEMMA3["1b"]))
    main([str(tmp_path), "--gpu-memory", word, "--host-memory", "500GiB"])
    printed = capsys.readouterr()
    reported = word == "80GB"
    assert ("80GB is 74.5 GiB" in printed.err, "81559MiB" in printed.err) == (reported, reported)
    main([str(tmp_path), "--gpu-memory", word, "--host-memory", "500GiB", "--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["budget"]["gpu"] / GIB == pytest.approx(gib)
    assert printed.err == ""


@pytest.mark.parametrize(
    "option",
    [one for one in options_parser()._actions if one.option_strings and one.dest != "help"],
)
def test_every_option_is_described(option):
    """Each stands in docs/cli.md and has a help text; `--json` is among them."""
    cli = Path(__file__).parents[3].joinpath("docs", "cli.md").read_text("utf-8")
    assert option.help
    assert any(f"{name}`" in cli or f"{name} " in cli for name in option.option_strings)
