"""DeepSpeed's checkpoints, saved through our own saver and without a second copy of the weights."""

from pathlib import Path
from typing import Any

import torch

from berth_trainer.checkpoint.saver import Saver
from berth_trainer.checkpoint.tensor_file import storages_of

_ABSENT = "berth_weights_in_optimizer_states"


def install(engine: Any, saver: Saver) -> None:
    """
    Let `engine` save its files through `saver`, and read them back.

    Below stage 3 DeepSpeed's file of model states repeats, in bf16, the trained weights that the
    optimizer's states hold in fp32. They are left out, and made from those when they are loaded.
    """
    from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointEngine

    class Engine(CheckpointEngine):
        def create(self, info: Any) -> None:
            del info

        def save(self, state_dict: Any, path: str) -> None:
            saver.save(_without_weights(engine, state_dict), Path(path))

        def load(self, path: str, map_location: Any = None) -> Any:
            state = torch.load(path, map_location=map_location, weights_only=False)
            if isinstance(state, dict) and state.pop(_ABSENT, False):
                state["module"] = {**engine.module.state_dict(), **state["module"]}
            return state

        def commit(self, info: Any) -> None:
            del info

        def preserves_storage_sharing(self) -> Any:
            return False  # DeepSpeed would clone the weights on the GPU for torch.save

    engine.checkpoint_engine = Engine()
    load = engine.load_checkpoint

    def load_checkpoint(*given: Any, **options: Any) -> Any:
        found = load(*given, **options)
        if hasattr(engine.optimizer, "update_lp_params") and not engine.load_universal_checkpoint():
            engine.optimizer.update_lp_params()
        return found

    engine.load_checkpoint = load_checkpoint


def state_bytes(engine: Any, *, eight_bit: bool) -> tuple[list[torch.Tensor], int]:
    """
    Return a rank's optimizer states as bytes where they lie, and how large they are in a checkpoint.

    Adam makes its two moments at the first step: before it they are counted from the weights.
    `eight_bit`: they take a byte each.
    """
    own = storages_of(engine.optimizer.state_dict())
    size = sum(one.numel() for one in own)
    inner = engine.optimizer.optimizer
    if not any("exp_avg" in state or "state1" in state for state in inner.state.values()):
        size += size // 2 if eight_bit else 2 * size
    return own, size


def _without_weights(engine: Any, state: Any) -> Any:
    """Return the model states without weights that the optimizer's states hold more precisely."""
    if not isinstance(state, dict) or engine.zero_optimization_stage() not in {1, 2}:
        return state
    module = state.get("module")
    if not isinstance(module, dict):
        return state
    trained = {p.data_ptr() for p in engine.module.parameters() if p.requires_grad}
    kept = {
        name: value
        for name, value in module.items()
        if not (torch.is_tensor(value) and value.numel() and value.data_ptr() in trained)
    }
    return {**state, "module": kept, _ABSENT: True}
