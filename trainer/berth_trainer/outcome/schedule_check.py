"""Check of a run's steps and learning rates before the first step."""

import math
from typing import Any

from berth_trainer.checkpoint import rates
from berth_trainer.config.settings import Settings
from berth_trainer.errors import UserError
from berth_trainer.training.ranks import warn


def check(settings: Settings, trainer: Any, *, max_steps: int, start: int) -> None:
    """
    Warn of a warm-up that takes most of the run. Raises UserError where nothing would be learned.

    A learning rate of 0 that the config file asks for is let pass, with the warning it has had.
    """
    training = settings.training
    steps = max_steps or steps_of_epochs(trainer)
    if not steps:
        raise UserError(
            f"training.num_epochs {training.num_epochs:g} makes no step, so nothing would be "
            "learned: raise it, or set training.max_steps."
        )
    sentence = warm_up_sentence(training.warmup_steps, training.lr_scheduler, steps)
    if not sentence or start >= steps:
        return
    if training.learning_rate and not rates.planned(
        training.lr_scheduler,
        learning_rate=training.learning_rate,
        warmup=training.warmup_steps,
        steps=steps,
    ):
        raise UserError(
            f"the learning rate is 0 in every step, so nothing would be learned: the run has {steps} "
            f"steps and training.warmup_steps is {training.warmup_steps}; lower the warm-up or take "
            "more steps."
        )
    warn(sentence)


def steps_of_epochs(trainer: Any) -> int:
    """Return how many steps the epochs of the config file make."""
    arguments = trainer.args
    samples = len(trainer.train_dataset)
    at_once = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    per_epoch = -(-samples // (at_once * arguments.world_size))
    return math.ceil(arguments.num_train_epochs * per_epoch)


def warm_up_sentence(warmup: int, scheduler: str, steps: int) -> str:
    """Return a warning where the warm-up takes half of the run or more; else nothing."""
    if scheduler == "constant" or warmup * 2 < steps:
        return ""
    if warmup >= steps:
        return (
            f"training.warmup_steps {warmup} is not shorter than the run of {steps} steps: the "
            "learning rate never reaches training.learning_rate; lower the warm-up."
        )
    return (
        f"training.warmup_steps {warmup} takes most of the run's {steps} steps, so that it learns "
        "less than it could; lower the warm-up."
    )
