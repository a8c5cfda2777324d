"""
ZeRO-3 leaf modules: a decoder layer is gathered as one.

DeepSpeed hooks every module that has parameters, a dozen in a layer, three or four times in a
micro-batch; on a fast GPU its Python takes longer than the layer's arithmetic. A layer that it
counts as a leaf is gathered and released as one, while the next one is prefetched. The
results are identical to the last bit.
"""

from typing import Any

from berth_trainer.config.settings import DeepSpeedSettings
from berth_trainer.memory.shape import ShapeError, read_shape
from berth_trainer.model.activation_checkpointing import decoder_layers


def by_layers(settings: DeepSpeedSettings) -> bool:
    return settings.stage == 3 and settings.gather == "layers"


def prefetch_size(settings: DeepSpeedSettings, config: Any) -> int:
    """Return the scalars of one decoder layer of the model; 0 for an unknown kind."""
    if not by_layers(settings):
        return 0
    try:
        return read_shape(config.to_dict()).layer
    except ShapeError:
        return 0


def gather_layers(model: Any) -> None:
    """Mark each decoder layer as a leaf module, before DeepSpeed wraps the model."""
    from deepspeed.utils import set_z3_leaf_module

    for layer in decoder_layers(model):
        set_z3_leaf_module(layer, flag=True)


def gathered_layers(model: Any) -> int:
    """Return the number of decoder layers that are gathered as one."""
    from deepspeed.utils import z3_leaf_module

    return sum(1 for layer in decoder_layers(model) if z3_leaf_module(layer))
