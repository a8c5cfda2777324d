"""LoRA adapters: adding them before training, merging them after it."""

from pathlib import Path
from typing import Any

from berth_trainer.config.settings import LoraSettings
from berth_trainer.errors import UserError
from berth_trainer.model.hardware import Hardware


def add_adapter(model: Any, settings: LoraSettings) -> Any:
    """Freeze the model and add low-rank adapters to the chosen linear layers."""
    from peft import LoraConfig, get_peft_model  # a second of imports, only where it is used

    wanted = [name.strip() for name in settings.target_modules.split(",") if name.strip()]
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=wanted[0] if wanted == ["all-linear"] else wanted,
        task_type="CAUSAL_LM",
    )
    try:
        # In the model's own precision: the optimizer has fp32 copies, and fp32 adapters would
        # make an fp32 copy of every layer's input.
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        layers = sorted(
            {
                name.rpartition(".")[2]
                for name, module in model.named_modules()
                if type(module).__name__ == "Linear"
            }
        )
        raise UserError(
            f"lora.target_modules {settings.target_modules} matches no layer of the model; it can be "
            f"all-linear, or some of {', '.join(layers)}."
        ) from error


def merge(adapter: Path, name: str, *, config: Any, hardware: Hardware, into: Path) -> None:
    """
    Write the base model with the adapter merged, so that a plain from_pretrained loads it.

    Needs host memory for the whole model. For rank 0, after the last collective of training.
    """
    from peft import PeftModel
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from berth_trainer.model.loading import load_model

    unset_hf_deepspeed_config()  # else loading would divide the weights among ranks that wait
    model = load_model(name, config, hardware)
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(str(into))
