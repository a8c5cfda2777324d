"""Lean norms and gated blocks, and recomputing some layers: the same loss and gradients."""

import pytest
import torch

from berth_trainer.memory import read_shape
from berth_trainer.model import activation_checkpointing, fused_layers

SIZES = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES = ["Gemma", "Gemma2", "Gemma3Text", "Llama", "Mistral", "Qwen2", "Qwen3"]


def model_of(kind, dtype=torch.float32):
    import transformers

    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**SIZES)
    model = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config).to(dtype)
    with torch.no_grad():  # norms start at one: nothing would be seen of their weights
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model.train()


def learn(model):
    torch.manual_seed(4)
    ids = torch.randint(3, 320, (2, 24))
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_fused_layers_are_the_stock_ones(kind):
    """In loss and every gradient, for every family; and each norm and block was exchanged."""
    model = model_of(kind)
    expected, gradients = learn(model)

    count = fused_layers.install(model, compiled=False)

    norms = {"Gemma2": 4, "Gemma3Text": 6, "Qwen3": 4}.get(kind, 2)
    assert count == fused_layers.count_of(model) == 4 * (norms + 1) + 1
    found, found_gradients = learn(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-3, atol=1e-6)


def test_compiled_they_are_the_same():
    """The compiled layers compute the same; here for the CPU."""
    model = model_of("Gemma3Text")
    expected, gradients = learn(model)
    fused_layers.install(model, compiled=True)
    found, found_gradients = learn(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-3, atol=1e-6)


def test_without_gradients_the_stock_forward_runs():
    """Evaluation batches have many shapes: nothing is compiled for them."""
    model = model_of("Qwen3").eval()
    ids = torch.randint(3, 320, (1, 9))
    with torch.no_grad():
        expected = model(ids).logits
        fused_layers.install(model, compiled=True)
        assert torch.equal(model(ids).logits, expected)


@pytest.mark.parametrize("layers", [1, 3])
def test_recomputing_the_first_layers_changes_nothing_but_memory(layers):
    """Loss and gradients are those without; exactly so many layers are recomputed."""
    model = model_of("Gemma3Text")
    expected, gradients = learn(model)
    activation_checkpointing.enable(model, layers)
    flags = [
        layer.gradient_checkpointing for layer in activation_checkpointing.decoder_layers(model)
    ]
    assert flags == [True] * layers + [False] * (4 - layers)
    found, found_gradients = learn(model)
    torch.testing.assert_close(found, expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient)


@pytest.mark.parametrize("kind", ["Gemma3Text", "Llama"])
def test_a_fused_layer_keeps_what_the_plan_counts(kind):
    """Within 6 %: storages that saved tensors of bf16 layers hold, a token and layer."""
    tokens, kept = 64, []
    for depth in (2, 4):
        torch.manual_seed(1)
        model = model_of(kind, torch.bfloat16)
        decoder = model.model
        decoder.layers = decoder.layers[:depth]
        decoder.config.num_hidden_layers = depth
        fused_layers.install(model, compiled=False)
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        seen: dict[int, int] = {}
        held = []

        def keep(tensor, seen=seen, held=held, weights=weights):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                seen[storage.data_ptr()] = storage.nbytes()
                held.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = decoder(input_ids=torch.randint(3, 320, (1, tokens)), use_cache=False)
        kept.append(sum(seen.values()))
        del out
    each = (kept[1] - kept[0]) / 2 / tokens
    shape = read_shape(model.config.to_dict())
    assert each == pytest.approx(shape.activation_bytes(fused=True), rel=0.06)
