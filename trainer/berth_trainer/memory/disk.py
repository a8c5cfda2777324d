"""Disk that a run's checkpoints and its final model will take, before the run exists."""

from __future__ import annotations

from berth_trainer.checkpoint.disk_room import DiskPlan, saves_of
from berth_trainer.config.settings import Settings
from berth_trainer.config.training_arguments import save_steps
from berth_trainer.memory.estimate import OPTIMIZER_BYTES
from berth_trainer.memory.shape import ModelShape


def disk_plan(settings: Settings, shape: ModelShape, *, max_steps: int = 0) -> DiskPlan:
    """
    Return the sizes that the run itself finds once its optimizer is there.

    A checkpoint holds the optimizer's states alone, among them the weights; the final model is
    whole with an adapter too. `max_steps`: of the command, 0 where the file decides.
    """
    training, lora = settings.training, settings.lora
    adapters = shape.adapter_parameters(lora.r) if lora.r else 0
    trained = adapters if lora.r else shape.parameters
    stopping = training.early_stopping_patience and training.eval_steps and training.save_steps
    return DiskPlan(
        checkpoint=int(OPTIMIZER_BYTES[training.optimizer_states] * trained),
        final=(4 if settings.model.dtype == "fp32" else 2) * (shape.parameters + adapters),
        standing=training.save_total_limit + int(bool(stopping)),
        saves=saves_of(save_steps(training), max_steps or training.max_steps),
    )
