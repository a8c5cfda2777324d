"""Memory peaks of torch's allocator in each phase of a step."""

from __future__ import annotations

from typing import Any

GIB = 1 << 30


class Phases:
    """
    The peak of each part of a micro-batch, in GiB, and of all.

    `begin`: what is allocated before the first. `kept`: what is when the decoder's forward pass
    ends. `forward`, `loss` (forward and backward), `layers` (backward), `update`: the peak within.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, float] = {}
        self.reserved = 0.0

    @property
    def allocated(self) -> float:
        return max(self.peaks.values(), default=0.0)

    def watch(self, trainer: Any) -> None:
        """Mark the phases of `trainer`, before it trains."""
        import torch

        if not torch.cuda.is_available():
            return
        decoder = _decoder(trainer.model)
        step = trainer.training_step

        def forward_begins(*_: Any) -> None:
            self._note("begin" if "begin" not in self.peaks else "between")

        def forward_ends(_module: Any, _given: Any, output: Any) -> None:
            self._note("forward")
            self._most("kept", torch.cuda.memory_allocated())
            hidden = output.last_hidden_state
            if hidden.requires_grad:
                hidden.register_hook(lambda _gradient: self._note("loss"))

        def marked(model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            self._watch_step(trainer.model_wrapped)
            return step(model, inputs, *rest, **options)

        decoder.register_forward_pre_hook(forward_begins)
        decoder.register_forward_hook(forward_ends)
        trainer.training_step = marked

    def _watch_step(self, engine: Any) -> None:
        """DeepSpeed's step after every micro-batch; it updates after the last one alone."""
        if hasattr(engine, "berth_step"):
            return
        engine.berth_step = engine.step

        def step(*given: Any, **options: Any) -> None:
            self._note("layers")
            engine.berth_step(*given, **options)
            self._note("update")

        engine.step = step

    def finish(self) -> None:
        """Count what came after the last mark, also where a run failed within a phase."""
        import torch

        if torch.cuda.is_available():
            self._note("end")

    def _note(self, phase: str) -> None:
        import torch

        self._most(phase, torch.cuda.max_memory_allocated())
        self.reserved = max(self.reserved, round(torch.cuda.max_memory_reserved() / GIB, 2))
        torch.cuda.reset_peak_memory_stats()

    def _most(self, phase: str, count: int) -> None:
        self.peaks[phase] = max(self.peaks.get(phase, 0.0), round(count / GIB, 2))


def _decoder(model: Any) -> Any:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_decoder()
