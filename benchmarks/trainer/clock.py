"""Step clock: time, tokens and memory of each step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phases import Phases
    from results import Result

GIB = 1 << 30


def clock_callback(deadline: float) -> Any:
    """Times the steps and ends the run at the deadline (seconds of perf_counter)."""
    import psutil
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.losses: list[float] = []
            self.host = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self._note()

        def on_step_end(self, *given: Any, **_: Any) -> None:
            self._note()
            arguments, _state, control = given
            if any_rank(time.perf_counter() > deadline, arguments.device):
                control.should_training_stop = True

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

        def _note(self) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())
            self.host = max(self.host, round(psutil.Process().memory_info().rss / GIB, 1))

    return Clock()


def any_rank(wish: bool, device: Any) -> bool:  # noqa: FBT001 - what all are asked for
    """Return whether any rank wishes it: one that stopped alone would leave the others waiting."""
    import torch
    from torch import distributed

    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return wish
    agreed = torch.tensor([int(wish)], device=device)
    distributed.all_reduce(agreed, op=distributed.ReduceOp.MAX)
    return bool(agreed.item())


def count_tokens(trainer: Any, accumulation: int) -> Callable[[], list[float]]:
    """Real tokens of each step on this rank, to be asked for at the end: no GPU is waited for."""
    seen: list[Any] = []
    step = trainer.training_step

    def counting(model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        seen.append((inputs["input_ids"] != 0).sum())
        return step(model, inputs, *rest, **options)

    trainer.training_step = counting

    def by_step() -> list[float]:
        counts = [float(one) for one in seen]
        return [
            sum(counts[start : start + accumulation])
            for start in range(0, len(counts), accumulation)
        ]

    return by_step


def measure(result: Result, clock: Any, tokens: list[float], phases: Phases) -> None:
    """Speed of the steps after the warm-up, and the peak of all."""
    import torch

    result.losses = [round(loss, 4) for loss in clock.losses]
    steps = min(len(tokens), len(clock.ends) - 1)
    warm = min(result.row.warm_up, max(0, steps - 1))
    if steps > warm:
        result.time(sum(tokens[warm:steps]), clock.ends[steps] - clock.ends[warm])
    result.host = clock.host
    if torch.cuda.is_available():
        phases.finish()
        result.phases, result.allocated, result.reserved = (
            phases.peaks, phases.allocated, phases.reserved)  # fmt: skip
        free, total = torch.cuda.mem_get_info()
        result.context = round((total - free - torch.cuda.memory_reserved()) / GIB, 2)


def quieten(trainer: Any) -> None:
    from transformers import PrinterCallback, ProgressCallback

    for loud in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(loud)
