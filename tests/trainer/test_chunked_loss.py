"""The loss in chunks is the stock loss, in value and gradient, and never makes the logits."""

import pytest
import torch

from berth_trainer.model.chunked_loss import chunk_of, install, is_able

TINY = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def model_of(kind, **options):
    import transformers

    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**{**TINY, **options})
    name = kind.removesuffix("Text")
    return getattr(transformers, f"{name}ForCausalLM")(config)


def batch():
    torch.manual_seed(4)
    ids = torch.randint(3, 320, (3, 40))
    labels = ids.clone()
    labels[0, :30] = labels[1, :11] = labels[2, :] = -100
    mask = torch.ones_like(ids)
    mask[0, 37:] = 0
    labels[0, 37:] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def loss_and_gradients(model, **extra):
    model.zero_grad()
    loss = model(**batch(), **extra).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("chunk", [1, 7, 38, 4096])
@pytest.mark.parametrize("extra", [{}, {"num_items_in_batch": torch.tensor(77)}])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Gemma3Text", {"tie_word_embeddings": True, "sliding_window": 16}),
        ("Gemma2", {"final_logit_softcapping": 5.0}),
        ("Llama", {"tie_word_embeddings": False}),
        ("Qwen3", {}),
        ("Mistral", {}),
    ],
)
def test_it_is_the_stock_loss(kind, options, extra, chunk):
    """Whatever the chunk, tied weights or not, soft cap or not, however many ranks share it."""
    model = model_of(kind, **options)
    assert is_able(model)
    expected, gradients = loss_and_gradients(model, **extra)

    install(model, chunk)
    found, found_gradients = loss_and_gradients(model, **extra)

    assert chunk_of(model) == chunk
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_head_never_sees_more_than_a_chunk():
    """Neither positions that are not learned, nor more than a chunk at a time."""
    model = model_of("Llama")
    seen = []
    model.lm_head.register_forward_hook(lambda _m, given, _o: seen.append(given[0].shape[0]))
    install(model, 16)

    loss_and_gradients(model)

    learned = int((batch()["labels"][:, 1:] != -100).sum())
    assert max(seen) <= 16
    assert sum(seen) == 2 * learned, "once forward, once again backward"


def test_without_labels_the_model_is_itself():
    """Generation needs logits."""
    model = model_of("Qwen3").eval()
    ids = batch()["input_ids"]
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        install(model, 8)
        assert torch.equal(model(input_ids=ids).logits, expected)
    assert model.generate(ids[:1, :5], max_new_tokens=3, do_sample=False).shape == (1, 8)


def test_a_batch_without_anything_to_learn_is_zero():
    """A filler of the last evaluation batch must neither be NaN nor hang the others."""
    model = model_of("Llama")
    install(model, 8)
    given = batch()
    given["labels"].fill_(-100)

    assert model(**given).loss.item() == 0.0


def test_models_with_another_head_keep_their_own_loss():
    """Granite divides its logits: the stock loss stays."""
    assert not is_able(model_of("Granite"))
