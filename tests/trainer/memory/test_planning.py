"""Auto plan: open keys are decided, keys of the config are kept, a run that will not fit is reported."""

from dataclasses import replace

import pytest
from tests.trainer.memory.gemma3 import GEMMA3

from berth_trainer.errors import UserError
from berth_trainer.memory import Budget, decide, estimate, read_shape
from berth_trainer.memory.sizes import GIB
from berth_trainer.training import oom_steps

H100 = Budget(gpu=int(79.6 * GIB), host=1500 * GIB)
H200 = Budget(gpu=int(139.7 * GIB), host=1500 * GIB)


def shape_of(size):
    return read_shape(GEMMA3[size])


def decided(settings, size="4b", *, gpus=1, budget=H200, fused=True):
    return decide.decide(settings, shape_of(size), gpus=gpus, budget=budget, fused=fused)


def test_without_being_asked_nothing_changes(settings_of):
    """Plan manual is what the first version did: every key as it stands."""
    settings = settings_of(training={"max_length": 1024})
    decision = decided(settings)
    assert decision.settings == settings
    assert decision.notes == ()


def test_auto_takes_the_fastest_that_fits_and_says_why(settings_of):
    """One large GPU holds the 4b shape whole: no offload, no ZeRO-3, nothing recomputed."""
    settings = settings_of(training={"plan": "auto", "pack_tokens": 8192})
    decision = decided(settings)
    chosen = decision.settings
    assert (chosen.deepspeed.stage, chosen.deepspeed.offload_optimizer) == (1, "none")
    assert not chosen.training.gradient_checkpointing
    assert "ZeRO stage 1, no offload, no checkpointing" in decision.notes[0]
    assert not decision.warnings
    assert H200.fits(decision.need)


def test_knowing_what_is_learned_the_need_is_reported_more_closely(settings_of):
    """Answers of a hundred tokens need one piece of the head, not five hundred positions of it."""
    decision = decided(settings_of(training={"plan": "auto", "pack_tokens": 8192}), budget=H100)
    closer = decision.with_label_tokens(100)
    assert closer.need.allocated < decision.need.allocated
    assert (closer.settings, closer.notes) == (decision.settings, decision.notes)
    assert decision.with_label_tokens(None) == decision


def test_on_a_smaller_gpu_auto_recomputes_no_more_than_it_must(settings_of):
    """One layer fewer would not fit, and the sentence names what the next faster one lacked."""
    settings = settings_of(training={"plan": "auto", "pack_tokens": 8192})
    decision = decided(settings, budget=H100)
    layers = decision.settings.training.checkpoint_layers
    assert 0 < layers < 34
    fewer = replace(decision.setup, checkpoint_layers=layers - 1)
    assert not H100.fits(estimate(shape_of("4b"), fewer))
    assert "needs" in decision.notes[0]


def test_length_rate_and_the_samples_of_a_step_stay(settings_of):
    """Whatever is decided: 64 samples a step on 4 GPUs, split again."""
    training = {"plan": "auto", "global_batch": 64, "max_length": 1024, "learning_rate": 3e-5}
    settings = settings_of(training=training)
    for size, budget in (("4b", H200), ("4b", H100), ("27b", H200)):
        chosen = decided(settings, size, gpus=4, budget=budget).settings.training
        assert chosen.batch_size * chosen.gradient_accumulation_steps * 4 == 64
        assert (chosen.max_length, chosen.learning_rate) == (1024, 3e-5)


def test_what_stands_in_the_file_wins_with_a_warning(settings_of):
    """A set-up that cannot fit is kept as it was asked for; the warning says what would fit."""
    settings = settings_of(
        training={"plan": "auto", "max_length": 8192, "batch_size": 4, "gradient_checkpointing": False},
        deepspeed={"stage": 2, "offload_optimizer": "none"},
    )  # fmt: skip
    decision = decided(settings, budget=H100)
    chosen = decision.settings
    assert (chosen.training.batch_size, chosen.deepspeed.stage) == (4, 2)
    assert not chosen.training.gradient_checkpointing
    (warning,) = decision.warnings
    assert "It will probably not fit on a GPU of 80 GiB: it needs" in warning
    assert "training.gradient_checkpointing true" in warning


def test_a_micro_batch_that_is_too_large_is_reported_to_shrink(settings_of):
    """With the accumulation that keeps the samples of a step."""
    settings = settings_of(
        training={"max_length": 8192, "batch_size": 64, "gradient_accumulation_steps": 2},
        deepspeed={"offload_optimizer": "none"},
    )

    (warning,) = decided(settings, gpus=2, budget=H100).warnings

    keys = dict(part.strip().split(" ")[:2] for part in warning.partition("; ")[2].split(","))
    batch, more = keys["training.batch_size"], keys["training.gradient_accumulation_steps"]
    assert int(batch) * int(more) == 128
    assert "would fit" in warning


@pytest.mark.parametrize("plan", ["manual", "auto"])
def test_a_model_that_is_too_large_is_refused_in_a_sentence(settings_of, plan):
    """27b with fp32 states and no offload on one GPU: the states alone are five times its size."""
    settings = settings_of(
        training={"plan": plan}, deepspeed={"offload_optimizer": "none", "offload_param": "none"}
    )
    decision = decided(settings, "27b", budget=H100)
    assert decision.warnings
    with pytest.raises(UserError, match=r"states alone take .* GiB per GPU"):
        decide.refuse_impossible(decision, H100)


def test_27b_on_four_and_eight_gpus(settings_of):
    """Four GPUs of 80 GB offload, eight need not; the warning of a manual run names the fix."""
    auto = settings_of(training={"plan": "auto", "max_length": 2048})
    assert decided(auto, "27b", gpus=4, budget=H100).settings.deepspeed.offload_optimizer == "cpu"
    assert decided(auto, "27b", gpus=8, budget=H100).settings.deepspeed.offload_optimizer == "none"
    manual = settings_of(
        deepspeed={"stage": 3, "offload_optimizer": "none", "offload_param": "none"}
    )
    (warning,) = decided(manual, "27b", gpus=4, budget=H100).warnings
    assert "4 GPUs of 80 GiB" in warning
    assert "deepspeed.offload_optimizer cpu" in warning
    assert not decided(manual, "27b", gpus=8, budget=H100).warnings


def test_a_global_batch_that_cannot_be_made_is_a_problem(settings_of):
    """Neither rounded nor overruled."""
    with pytest.raises(UserError, match="multiple of 8"):
        decide.with_global_batch(settings_of(training={"global_batch": 12, "batch_size": 2}), 4)
    both = {"global_batch": 16, "gradient_accumulation_steps": 2}
    with pytest.raises(UserError, match="remove one of them"):
        decide.with_global_batch(settings_of(training=both), 4)


def test_four_bit_weights_leave_stage_3(settings_of):
    """Open keys are decided; otherwise one sentence is printed."""
    settings = settings_of(lora={"r": 16, "quantize": "4bit"})
    zero = decide.with_four_bit(settings).deepspeed
    assert (zero.stage, zero.offload_param, zero.offload_optimizer) == (1, "none", "none")
    given = settings_of(lora={"r": 16, "quantize": "4bit"}, deepspeed={"stage": 3})
    with pytest.raises(UserError, match=r"set deepspeed.stage to 1"):
        decide.with_four_bit(given)
    with pytest.raises(UserError, match=r"set lora\.r"):
        settings_of(lora={"quantize": "4bit"})


@pytest.mark.parametrize("steps", ["halve_micro_batch", "checkpointing", "offload"])
def test_each_step_of_the_ladder_needs_less_and_keeps_the_step(settings_of, steps):
    """The plan of the smaller settings is below that of those that died."""
    settings = settings_of(
        training={"batch_size": 4, "gradient_accumulation_steps": 2, "max_length": 4096, "gradient_checkpointing": False},
        deepspeed={"stage": 2, "offload_optimizer": "none", "offload_param": "none"},
    )  # fmt: skip
    smaller, (reported,) = oom_steps.apply(settings, steps)
    assert "out of memory before, so:" in reported
    training = smaller.training
    assert training.batch_size * training.gradient_accumulation_steps == 8
    before, after = (
        estimate(shape_of("4b"), decide.setup_of(one, shape_of("4b"), gpus=1, fused=False))
        for one in (settings, smaller)
    )
    assert after.gpu < before.gpu


def test_a_step_with_nothing_left_pulls_the_next_lever(settings_of):
    """One sample cannot be halved, so activations are recomputed; then the optimizer goes."""
    settings = settings_of(
        training={"batch_size": 1, "gradient_checkpointing": False},
        deepspeed={"stage": 3, "offload_optimizer": "none", "offload_param": "none"},
    )
    names = "halve_micro_batch,halve_micro_batch,offload,offload"
    smaller, reported = oom_steps.apply(settings, names)
    assert smaller.training.gradient_checkpointing
    assert (smaller.deepspeed.offload_optimizer, smaller.deepspeed.offload_param) == ("cpu", "cpu")
    assert "nothing is left" in reported[-1]


@pytest.mark.parametrize(
    ("states", "host_adam", "moved"),
    [("fp32", False, True), ("bf16", True, True), ("bf16", False, False), ("8bit", True, False)],
)
def test_states_that_no_host_optimizer_has_stay_on_the_gpu(settings_of, states, host_adam, moved):
    """The ladder never makes settings that a start refuses: the parameters go instead."""
    settings = settings_of(
        training={"optimizer_states": states, "batch_size": 1},
        deepspeed={"stage": 3, "offload_optimizer": "none", "offload_param": "none"},
    )
    zero = oom_steps.apply(settings, "offload", cpu_adam=host_adam)[0].deepspeed
    assert (zero.offload_optimizer, zero.offload_param) == (("cpu", "none") if moved else ("none", "cpu"))  # fmt: skip


def test_packed_rows_are_halved_down_to_a_sample(settings_of):
    """The tokens of a step stay; a row never gets shorter than the longest sample."""
    settings = settings_of(training={"pack_tokens": 4096, "max_length": 2048})
    smaller, _ = oom_steps.apply(settings, "halve_micro_batch")
    training = smaller.training
    assert (training.pack_tokens, training.gradient_accumulation_steps) == (2048, 2)
    again, reported = oom_steps.apply(smaller, "halve_micro_batch,nonsense")
    assert again.training.pack_tokens == 2048
    assert "unknown step nonsense" in reported[-1]
