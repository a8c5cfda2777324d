"""LoRA adapters: adding them before training, merging them after it."""

import json
from pathlib import Path
from typing import Any

from berth_trainer.config.settings import LoraSettings
from berth_trainer.errors import UserError
from berth_trainer.model.hardware import Hardware
from berth_trainer.training.ranks import log0


def add_adapter(model: Any, settings: LoraSettings) -> Any:
    """Freeze the model and add low-rank adapters to the chosen linear layers."""
    from peft import LoraConfig, get_peft_model  # a second of imports, only where it is used

    wanted = [name.strip() for name in settings.target_modules.split(",") if name.strip()]
    layers = _layers(model)
    if "all-linear" in wanted and len(wanted) > 1:
        wanted = sorted({*layers, *wanted} - {"all-linear"})
    # peft passes over a name that matches nothing as soon as another one does.
    unknown = [name for name in wanted if name != "all-linear" and not _matches(model, name)]
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=wanted[0] if wanted == ["all-linear"] else wanted,
        task_type="CAUSAL_LM",
    )
    problem = UserError(
        f"lora.target_modules {', '.join(unknown) or settings.target_modules or '(empty)'} matches "
        f"no layer of the model; it can be all-linear, or some of {', '.join(layers)}, "
        "embed_tokens, lm_head."
    )
    if unknown or not wanted:
        raise problem
    try:
        # In the model's own precision: the optimizer has fp32 copies, and fp32 adapters would
        # make an fp32 copy of every layer's input.
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:  # it found a layer that takes no adapter
        raise problem from error


def _layers(model: Any) -> list[str]:
    """Return the names of the linear layers that all-linear means: all but the head."""
    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if type(module).__name__.startswith("Linear") and module is not head
        }
    )


def _matches(model: Any, wanted: str) -> bool:
    """Return whether a module has the name, or it at the end of its name, as peft looks for it."""
    names = (name for name, _ in model.named_modules())
    return any(name == wanted or name.endswith(f".{wanted}") for name in names)


def merge(
    adapter: Path, name: str, *, config: Any, hardware: Hardware, quantized: bool, into: Path
) -> None:
    """
    Write the base model with the adapter merged, so that a plain from_pretrained loads it.

    `quantized`: it was trained beside weights in 4 bits, so those are what it is merged into.
    Needs host memory for the whole model. For rank 0, after the last collective of training.
    """
    from peft import PeftModel
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from berth_trainer.model.loading import load_model

    unset_hf_deepspeed_config()  # else loading would divide the weights among ranks that wait
    model = load_model(name, config, hardware)
    if quantized:
        _round_to_four_bits(model, "cuda" if hardware.cuda else "cpu")
    adapted = json.loads((adapter / "adapter_config.json").read_text("utf-8"))["target_modules"]
    _untie(model, set(adapted))
    wrapped: Any = PeftModel.from_pretrained(model, str(adapter))
    _merge_layers(wrapped)
    wrapped.unload().save_pretrained(str(into))


def _untie(model: Any, adapted: set[str]) -> None:
    """
    Give head and embedding a weight each where an adapter changes one of the two.

    In training the adapter is beside the shared weight; worked into it, it would change both.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return
    names = {name for name, module in model.named_modules() if module in (head, embedding)}
    if not any(name == one or name.endswith(f".{one}") for name in names for one in adapted):
        return
    from torch import nn

    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for config in {id(one): one for one in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}
    log0(f"{', '.join(sorted(names))}: saved with a weight each, since the adapter changes one.")


def _merge_layers(wrapped: Any) -> None:
    """Merge layer by layer in fp32, so that a weight in bf16 is rounded once."""
    for module in wrapped.modules():
        if not hasattr(module, "merge") or not hasattr(module, "base_layer"):
            continue
        weight = module.base_layer.weight
        dtype = weight.dtype
        weight.data = weight.data.float()
        module.float()
        module.merge()
        weight.data = weight.data.to(dtype)


def _round_to_four_bits(model: Any, device: str) -> None:
    """Replace the weights that training held in 4 bits by what those 4 bits say."""
    from bitsandbytes import functional
    from torch import nn

    head = model.get_output_embeddings()
    for module in model.modules():
        if type(module) is not nn.Linear or module is head:
            continue
        weight = module.weight
        packed, state = functional.quantize_4bit(
            weight.data.to(device), quant_type="nf4", compress_statistics=True
        )
        weight.data = functional.dequantize_4bit(packed, state).to(weight.device, weight.dtype)
