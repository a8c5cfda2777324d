"""Early stopping whose count is part of the run: a resumed run stops where the unbroken one does."""

from typing import Any

from transformers import EarlyStoppingCallback

from berth_trainer.training.ranks import log0

_OLDER = "EarlyStoppingCallback"  # the name of the state in checkpoints of earlier versions


class EarlyStopping(EarlyStoppingCallback):
    """Goes on counting from the checkpoint, and stops a run at once that had already stopped."""

    def restore(self, states: dict[str, Any]) -> None:
        """Take the count over from a checkpoint's states; the patience is this run's own."""
        found = states.get(type(self).__name__) or states.get(_OLDER) or {}
        found = found[0] if isinstance(found, list) else found
        counted = found.get("attributes", {}).get("early_stopping_patience_counter", 0)
        self.early_stopping_patience_counter = int(counted)

    @property
    def reached(self) -> bool:
        return self.early_stopping_patience_counter >= self.early_stopping_patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        if state.global_step and self.reached:
            log0(f"the run had already stopped early at step {state.global_step}.")
            control.should_training_stop = True
