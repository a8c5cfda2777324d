"""Steps between a checkpoint on disk and a model that DeepSpeed can wrap, in their order."""

from typing import Any

from berth_trainer.config.settings import Settings
from berth_trainer.errors import UserError
from berth_trainer.memory.decide import FUSED_KINDS
from berth_trainer.model import activation_checkpointing, chunked_loss, fused_layers
from berth_trainer.model.hardware import Hardware
from berth_trainer.model.loading import load_model
from berth_trainer.model.lora import add_adapter
from berth_trainer.training.ranks import log0


def load_for_training(
    name: str, settings: Settings, config: Any, hardware: Hardware, device: str
) -> Any:
    """Load the model, with fused layers and the chunked loss where settings and model allow."""
    four_bit = device if settings.lora.quantize == "4bit" else None
    model = load_model(name, config, hardware, four_bit_on=four_bit)
    if uses_fused_layers(settings, config, hardware):
        _install_fused_layers(model, settings, hardware, device)
    if settings.training.loss_chunk and chunked_loss.is_able(model):
        chunked_loss.install(model, settings.training.loss_chunk)
    return model


def prepare_model(model: Any, settings: Settings) -> Any:
    """Add the LoRA adapter and activation checkpointing, as configured."""
    training = settings.training
    if settings.lora.r:
        model = add_adapter(model, settings.lora)
    if training.gradient_checkpointing:
        activation_checkpointing.enable(model, training.checkpoint_layers)
    return model


def uses_fused_layers(settings: Settings, config: Any, hardware: Hardware) -> bool:
    """Return whether to install the fused layers. `auto`: on a GPU, for known models."""
    asked = settings.training.fused_layers
    known = config.get_text_config().model_type in FUSED_KINDS
    if asked == "on" and not known:
        raise UserError(
            f"training.fused_layers is on, but the layers of {config.model_type} are not known; "
            "set it to auto."
        )
    return asked == "on" or (asked == "auto" and known and hardware.cuda)


def _install_fused_layers(model: Any, settings: Settings, hardware: Hardware, device: str) -> None:
    """Install the layers, compiled where that works; a log line says what was done and why."""
    wish = settings.training.compile
    obstacle = "training.compile is off"
    if wish == "auto" and not settings.training.pack_tokens:
        obstacle = "without training.pack_tokens every new length would be compiled again"
    elif wish != "off":
        obstacle = "there is no GPU" if not hardware.cuda else fused_layers.compiler_trouble(device)
        if wish == "on" and obstacle:
            raise UserError(f"training.compile is on, but torch.compile fails here: {obstacle}.")
    fused_layers.install(model, compiled=not obstacle)
    how = f"not compiled, because {obstacle}" if obstacle else "each compiled to one kernel"
    log0(f"fused norms and gated blocks, which keep fewer activations; {how}.")
