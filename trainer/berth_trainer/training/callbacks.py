"""Trainer callbacks: checklist, metrics, stop signals, checkpoints."""

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from berth_trainer.checkpoint import checkpoints, counters, universal
from berth_trainer.training import shutdown_deadline
from berth_trainer.training.checklist import Asked, read_back, report
from berth_trainer.training.metrics import MetricsFile
from berth_trainer.training.peers import Peers
from berth_trainer.training.ranks import Ranks, barrier, log0, warn, world_size
from berth_trainer.training.stop_signals import SAVE, STOP, StopSignals


class StartupChecklist(TrainerCallback):
    """Reads the checklist back when DeepSpeed's engine stands, before the first step."""

    def __init__(self, asked: Asked, *, engine: Callable[[], Any], ranks: Ranks) -> None:
        self._asked, self._engine, self._ranks = asked, engine, ranks

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del state, control
        if self._ranks.is_main:
            checks = read_back(
                self._asked,
                engine=self._engine(),
                model=kwargs["model"],
                world_size=world_size(),
            )
            report(checks, Path(args.output_dir))


class Progress(ProgressCallback):
    """Progress bar with one readable line per logged step instead of a dictionary."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        del args, control, kwargs
        line = log_line(state.global_step, state.max_steps, logs or {})
        if state.is_world_process_zero and line:
            bar = self.training_bar
            bar.write(line) if bar is not None else log0(line)


class MetricLines(TrainerCallback):
    """Writes each log entry to metrics.jsonl, and warns of a loss like that of random weights."""

    def __init__(self, file: MetricsFile | None, vocabulary: int | None) -> None:
        self._file = file
        self._noise = (
            math.log(vocabulary) if vocabulary else math.inf
        )  # None: random weights are intended
        self._first = True
        self._diverged = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        del args, control, kwargs
        if self._file is None or not logs:
            return
        if "loss" in logs and self._first:
            self._first = False
            if logs["loss"] > 0.97 * self._noise:
                warn(
                    f"the first loss {logs['loss']:.2f} is that of random weights "
                    f"(ln of the vocabulary is {self._noise:.2f}): check model.path."
                )
        self._warn_of_divergence(state.global_step, logs)
        values: dict[str, float] = {}
        for name, value in logs.items():
            values[_NAMES.get(name) or str(name)] = value
        values["max_steps"] = state.max_steps
        self._file.write(state.global_step, values)

    def _warn_of_divergence(self, step: int, logs: Mapping[str, Any]) -> None:
        """Warn once: a diverged run goes on to its end and would pass for a good one."""
        lost = [name for name in ("loss", "grad_norm", "eval_loss") if not _finite(logs.get(name))]
        if lost and not self._diverged:
            self._diverged = True
            warn(
                f"{_PHRASES[lost[0]]} at step {step} is not a finite number: if it stays so, the "
                "run learns nothing more; lower training.learning_rate or raise "
                "training.warmup_steps."
            )


class StopWithCheckpoint(TrainerCallback):
    """Saves and stops at the end of a step as the ranks agreed, and logs the time left for it."""

    def __init__(
        self, signals: StopSignals, peers: Peers, *, last_saving: Callable[[], float | None]
    ) -> None:
        self._signals, self._peers, self._last_saving = signals, peers, last_saving

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        self._peers.join()  # from here on a signal alone ends no rank that waits for another
        self._signals.install()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del kwargs
        wish = self._signals.agree(args.device)
        if wish >= SAVE:
            control.should_save = True
            log0(
                f"signal received: saving a checkpoint at step {state.global_step}"
                f"{', then stopping' if wish == STOP else ''}."
            )
            since = self._signals.received_at
            left = shutdown_deadline.left_for_saving(
                os.environ,
                waited_s=time.monotonic() - since if since else 0.0,
                warned=wish == SAVE,
            )
            expected = shutdown_deadline.saving_forecast(self._last_saving(), left)
            if expected:
                log0(f"checkpoint: {expected}")
        if wish == STOP:
            control.should_training_stop = True
            control.should_evaluate = False  # the grace period is short


class OwnOptimizer(TrainerCallback):
    """After loading a checkpoint: rates, schedule and form of the counters are this run's own."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        optimizer = getattr(self._trainer.engine().optimizer, "optimizer", None)
        if optimizer is not None:
            counters.fit(optimizer)
        self._trainer.take_own_rates()


class ConvertedCheckpoint(TrainerCallback):
    """After loading a converted checkpoint: fixes the optimizer and deletes the conversion."""

    def __init__(self, checkpoint: Path, *, trainer: Any, ranks: Ranks) -> None:
        self._checkpoint, self._trainer, self._ranks = checkpoint, trainer, ranks

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        universal.fix_optimizer(self._trainer.engine(), self._trainer.weight_decays)
        barrier()
        if self._ranks.is_main:
            universal.forget(self._checkpoint)


class CheckpointRecorder(TrainerCallback):
    """Lets a checkpoint become complete once all ranks have written it, then deletes the oldest."""

    def __init__(
        self,
        *,
        keep: int,
        trainer: Any,
        batch: checkpoints.Batch,
        run: Callable[[int], Mapping[str, Any]],
    ) -> None:
        """`run` returns what the run was made with up to a step, for the record."""
        self._keep, self._trainer, self._batch, self._run = keep, trainer, batch, run
        self.last: Path | None = None
        """The last complete checkpoint of this run, on rank 0."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del control, kwargs
        folder, step, ranks = self._trainer.saving, state.global_step, world_size()
        if folder is None:
            return
        best = Path(state.best_model_checkpoint) if state.best_model_checkpoint else None
        run = self._run(step)

        def complete() -> None:
            """Run in the writer's thread, so without a look at what the training now does."""
            checkpoints.record(folder, step=step, world_size=ranks, batch=self._batch, run=run)
            self.last = folder
            checkpoints.report_saved(step)
            checkpoints.rotate(Path(args.output_dir), keep=self._keep, best=best)

        if not self._trainer.saver.commit(complete):
            self.last = folder  # it was there


def log_line(step: int, total: int, logs: dict[str, Any]) -> str:
    """Return a log entry as one readable line; empty for the Trainer's own final summary."""
    if "eval_loss" in logs:
        return (
            f"step {step}/{total}  evaluation: loss {logs['eval_loss']:.4f}, "
            f"perplexity {logs['eval_perplexity']:.2f}"
        )
    if "loss" not in logs:
        return ""
    parts = [f"step {step}/{total}", f"loss {logs['loss']:.4f}"]
    for name, shown in _SHOWN.items():
        if isinstance(logs.get(name), int | float):
            parts.append(shown.format(logs[name]))
    if isinstance(logs.get("time_left_s"), int | float):
        parts.append(f"{logs['time_left_s'] / 60:.1f} min left")
    return "  ".join(parts)


_SHOWN = {
    "learning_rate": "lr {:.2e}",
    "grad_norm": "grad {:.3f}",
    "tokens_per_s": "{:,.0f} tokens/s",
    "gpu_peak_gib": "{:.1f} GiB",
    "mfu": "{:.1%} of peak",
    "epoch": "epoch {:.2f}",
}
_NAMES: dict[str, str] = {"eval_perplexity": "perplexity"}
_PHRASES = {
    "loss": "the loss",
    "grad_norm": "the gradient's norm",
    "eval_loss": "the evaluation loss",
}


def _finite(value: object) -> bool:
    """Return whether the value is None, no number, or a finite number."""
    try:
        return value is None or math.isfinite(float(value))  # pyright: ignore[reportArgumentType]  # what is no number ends below
    except (TypeError, ValueError):
        return True
