"""Models with random weights, prepared as the trainer prepares those that it loads."""

from __future__ import annotations

from typing import Any


def random_model(config: Any, hardware: Any, device: str, *, stage: int) -> Any:
    """Made on the device itself; under stage 3 within DeepSpeed's zero.Init, as loading is."""
    import torch
    from transformers import AutoModelForCausalLM

    kind = torch.bfloat16 if hardware.precision == "bf16" else torch.float32
    torch.manual_seed(1)
    if stage == 3:
        model = AutoModelForCausalLM.from_config(config, dtype=kind)
    else:
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=kind)
    model.config.use_cache = False
    return model


def prepare_model(ready: Any, notes: list[str]) -> tuple[Any, bool]:
    """
    The model of a `runner.Ready`, and whether rows carry their samples' bounds.

    What was chosen, and why not something faster, is added to `notes`.
    """
    from berth_trainer.model import chunked_loss, fused_layers, prepare, varlen_attention

    training, device = ready.settings.training, ready.device
    stage = ready.settings.deepspeed.stage
    model = random_model(ready.config, ready.hardware, device, stage=stage)
    if ready.fused:
        trouble = "there is no GPU" if not ready.hardware.cuda else "switched off"
        if ready.hardware.cuda and training.compile != "off":
            trouble = fused_layers.compiler_trouble(device)
        fused_layers.install(model, compiled=not trouble)
        notes.append(f"layers: {f'not compiled, {trouble}' if trouble else 'compiled'}")
    if training.loss_chunk:
        chunked_loss.install(model, training.loss_chunk)
    if ready.settings.lora.quantize == "4bit":
        quantize(model, device)
    able = bool(training.pack_tokens) and not ready.block_mask
    bounds = able and varlen_attention.enable(model, device)
    notes.append(f"attention: {'by bounds' if bounds else 'mask'}")
    return prepare.prepare_model(model, ready.settings), bounds


def quantize(model: Any, device: str) -> None:
    """The decoder's linear layers in nf4, as loading them would have them."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in list(model.get_decoder().named_modules()):
        if not isinstance(layer, torch.nn.Linear):
            continue
        small = Linear4bit(
            layer.in_features, layer.out_features, bias=False,
            compute_dtype=torch.bfloat16, quant_type="nf4", device="meta",
        )  # fmt: skip
        small.weight = Params4bit(
            layer.weight.data, requires_grad=False, quant_type="nf4", module=small
        ).to(device)
        parent, _, child = name.rpartition(".")
        setattr(model.get_decoder().get_submodule(parent), child, small)
    model.is_loaded_in_4bit = True
