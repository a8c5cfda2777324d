"""Learning rate and weight decay of a resumed run: this run's own, from the next step on."""

from collections.abc import Sequence
from typing import Any


def take_effect(scheduler: Any, *, learning_rate: float, weight_decays: Sequence[float]) -> None:
    """
    Set what loading a checkpoint has overwritten with the checkpoint's own values.

    Base rates and decays lie in the optimizer's groups and the scheduler, which both are loaded;
    only the schedule's form is not. Where nothing was changed nothing changes here.
    """
    while hasattr(scheduler, "scheduler"):  # accelerate's and DeepSpeed's wrappers
        scheduler = scheduler.scheduler
    groups = scheduler.optimizer.param_groups
    scheduler.base_lrs = [learning_rate] * len(groups)
    rates = [
        base * schedule(scheduler.last_epoch)
        for base, schedule in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate, decay in zip(groups, rates, weight_decays, strict=True):
        group.update(lr=rate, initial_lr=learning_rate, weight_decay=decay)
    scheduler._last_lr = rates  # noqa: SLF001  # what get_last_lr returns; there is no setter


def planned(scheduler: str, *, learning_rate: float, warmup: int, steps: int) -> float:
    """Return the sum of the learning rates over all steps of the run, before any is taken."""
    from torch import nn
    from torch.optim import SGD
    from transformers import get_scheduler

    optimizer = SGD([nn.Parameter()], lr=learning_rate)
    made: Any = get_scheduler(scheduler, optimizer, num_warmup_steps=warmup, num_training_steps=steps)  # fmt: skip
    return sum(learning_rate * made.lr_lambdas[0](step) for step in range(steps))
