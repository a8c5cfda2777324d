"""Packed rows: every sample once, none sees another, the same loss and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from berth_trainer.data.collate import Collate
from berth_trainer.data.packing import CollatePacked, PackedDataset, measure, pack
from berth_trainer.model import varlen_attention
from berth_trainer.model.chunked_loss import install


@given(st.lists(st.integers(1, 64), max_size=80), st.integers(64, 200))
def test_every_sample_stands_in_exactly_one_row(lengths, budget):
    """And no row is over its budget."""
    rows = pack(lengths, budget)

    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= budget for row in rows)
    assert all(row for row in rows)


def test_rows_are_well_filled():
    """Dialogue-like lengths leave little unused."""
    lengths = [200 + (37 * n) % 700 for n in range(400)]

    assert sum(lengths) / (len(pack(lengths, 4096)) * 4096) > 0.97


def test_a_sample_over_the_budget_is_an_error():
    """The config file is checked for it: it would be a fault of the program."""
    with pytest.raises(ValueError, match="more than the budget"):
        pack([10, 65], 64)


def samples():
    torch.manual_seed(5)
    found = []
    for length, prompt in ((17, 9), (30, 20), (8, 1), (25, 24), (11, 3), (21, 15)):
        ids = torch.randint(3, 320, (length,)).tolist()
        found.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return found


def test_a_row_has_a_fixed_shape_and_no_mask():
    """A mask of ones would let the samples see each other."""
    batch = CollatePacked(pad_id=0, budget=64)([samples()[:2]])

    assert "attention_mask" not in batch
    assert {name: value.shape for name, value in batch.items()} == dict.fromkeys(
        ("input_ids", "position_ids", "labels"), (1, 64)
    )
    positions = batch["position_ids"][0].tolist()
    assert positions == [*range(17), *range(30), *range(17)]
    assert batch["labels"][0, 17] == -100


def model_of(kind, **options):
    import transformers

    torch.manual_seed(3)
    sizes = {
        "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**{**sizes, **options})
    return getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config)


def test_a_row_with_bounds_tells_where_its_samples_end():
    """The padding is a sample of its own, and the mask is one that no one reads."""
    batch = CollatePacked(pad_id=0, budget=64, bounds=True)([samples()[:2]])

    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 17, 47, 64]
    assert batch["max_length_q"] == batch["max_length_k"] == 30
    assert batch["attention_mask"].shape == (1, 1, 1, 1)


@pytest.mark.parametrize("chunk", [0, 5])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager", varlen_attention.NAME])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Gemma3Text", {"sliding_window": 8, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]}),
        ("Gemma2", {"sliding_window": 8}),
        ("Llama", {}),
        ("Qwen3", {}),
        ("Mistral", {"sliding_window": 8}),
    ],
)  # fmt: skip
def test_packed_and_unpacked_learn_the_same(kind, options, attention, checkpointing, chunk):
    """
    Loss and every gradient, with sliding windows, with and without checkpointing and chunks: with
    a block mask, and with the samples' bounds in its place.
    """
    if kind == "Gemma2":
        attention = "eager"  # Gemma-2 caps its attention scores, which the others cannot
    varlen_attention.register()
    model = model_of(kind, attn_implementation=attention, **options).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if chunk:
        install(model, chunk)
    items = samples()
    count = sum(label != -100 for item in items for label in item["labels"][1:])

    def learn(batches):
        model.zero_grad()
        loss = sum(
            model(**batch, num_items_in_batch=count, use_cache=False).loss for batch in batches
        )
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in model.parameters()]

    expected, gradients = learn([Collate(0, 128)([item]) for item in items])
    packed = PackedDataset(items, pack(measure(items, rank=0, world_size=1), 64))
    assert len(packed) < len(items)
    bounds = attention == varlen_attention.NAME
    collate = CollatePacked(pad_id=0, budget=64, bounds=bounds)
    found, found_gradients = learn([collate([packed[row]]) for row in range(len(packed))])

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(found_gradients, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


class _Gemma3:
    _attn_implementation = "sdpa"
    num_attention_heads, num_key_value_heads, head_dim = 4, 2, 16
    attn_logit_softcapping = None

    def get_text_config(self):
        return self


class _Model:
    def __init__(self):
        self.config = _Gemma3()


def test_where_bounds_do_not_help_the_block_mask_stays_and_a_line_says_why(capsys, monkeypatch):
    """No GPU; scores that are capped; a kernel that refuses, or is wrong, on this GPU."""
    model = _Model()
    assert not varlen_attention.enable(model, "cpu")
    assert "there is no GPU" in capsys.readouterr().out

    def refuses(*given):
        raise RuntimeError("head dim 256 is not supported\nmore")

    for difference, reported in ((refuses, "head dim 256"), (lambda *_: 0.4, "off by 0.400")):
        monkeypatch.setattr(varlen_attention, "_difference", difference)
        assert not varlen_attention.enable(model, "cuda:0")
        assert reported in capsys.readouterr().out
    monkeypatch.setattr(varlen_attention, "_difference", lambda *_: 0.004)
    model.config.attn_logit_softcapping = 50.0
    assert not varlen_attention.enable(model, "cuda:0")
    assert "caps its attention scores" in capsys.readouterr().out
    assert model.config._attn_implementation == "sdpa"
    model.config.attn_logit_softcapping = None
    assert varlen_attention.enable(model, "cuda:0")
    assert model.config._attn_implementation == varlen_attention.NAME


def test_the_comparison_at_start_would_see_a_wrong_kernel(monkeypatch):
    """Equal kernels differ by rounding; one that lets samples see each other by far more."""
    right = varlen_attention._one_by_one
    monkeypatch.setattr(varlen_attention, "_flash", right)
    assert varlen_attention._difference("cpu", 4, 2, 16) < varlen_attention._TOLERANCE

    def leaks(qkv, bounds, *rest):
        return right(qkv, bounds[[0, -1]], *rest)

    monkeypatch.setattr(varlen_attention, "_flash", leaks)
    assert varlen_attention._difference("cpu", 4, 2, 16) > varlen_attention._TOLERANCE
