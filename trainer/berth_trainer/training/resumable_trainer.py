"""Trainer of transformers that a resumed run leaves as an unbroken one would."""

import json
import math
from pathlib import Path
from typing import Any, cast

from berth_trainer.checkpoint import checkpoints, rates, universal
from berth_trainer.checkpoint.atomic_file import strict, write_json
from berth_trainer.checkpoint.early_stopping import EarlyStopping
from berth_trainer.training.ranks import barrier, warn
from berth_trainer.training.saving_trainer import SavingTrainer

_STATE = "trainer_state.json"
_TOTALS = "BerthTotals"  # beside the callbacks' states in it


class ResumableTrainer(SavingTrainer):
    """
    Keeps in a checkpoint what transformers forgets, and takes it over when it resumes.

    That is: the early stopping's count, the best checkpoint where the folder was moved, an
    evaluation that a stop skipped, the sum of the losses, and this run's own rates and intervals.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.weight_decays: list[float] = []
        self._loss_before: float | None = 0.0  # sum over the steps before this attempt
        self._steps_before = 0
        self._resumed_from: Path | None = None

    def engine(self) -> Any:
        """Return DeepSpeed's engine, once training has begun."""
        return self.model_wrapped

    def _init_training_state(  # pyright: ignore[reportIncompatibleMethodOverride]  # handed on as it comes
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        place: tuple[int, int] = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is not None:
            self._take_over(Path(resume_from_checkpoint), max_steps)
        return place

    def _take_over(self, checkpoint: Path, max_steps: int) -> None:
        state = self.state
        self._resumed_from, self._steps_before = checkpoint, state.global_step
        self._complete_here = checkpoint
        state.compute_steps(self.args, max_steps)  # else the checkpoint's intervals hold
        states: dict[str, Any] = dict(cast("Any", state.stateful_callbacks) or {})
        totals = states.pop(_TOTALS, None)
        self._loss_before = totals.get("loss_sum") if totals else None
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, EarlyStopping):
                callback.restore(states)
        own: list[Any] = [*self.callback_handler.callbacks, self.control]
        # Only those of this run: transformers finds no place for one that the checkpoint lacks.
        state.stateful_callbacks = {  # pyright: ignore[reportAttributeAccessIssue]  # states by name
            type(one).__name__: one.state() for one in own if hasattr(one, "state")
        }
        self._find_best(checkpoint)

    def _find_best(self, checkpoint: Path) -> None:
        """Look for the best checkpoint beside this one: its path is another once a folder moved."""
        try:
            recorded = json.loads((checkpoint / _STATE).read_text("utf-8"))
        except (OSError, ValueError):
            return
        name = Path(recorded.get("best_model_checkpoint") or "").name
        beside = checkpoint.parent / name
        if name and self.state.best_model_checkpoint is None and beside.is_dir():
            self.state.best_model_checkpoint = str(beside)

    def _run_epoch(self, **options: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # they are handed on as they come
        """Take no step where a resumed run was complete; first make up for what a stop skipped."""
        if self._resumed_from is not None:
            checkpoint, self._resumed_from = self._resumed_from, None
            self._make_up_evaluation(checkpoint)
        if self.state.global_step >= self.state.max_steps or self.control.should_training_stop:
            self.control.should_training_stop = True
            return
        super()._run_epoch(**options)

    def _make_up_evaluation(self, checkpoint: Path) -> None:
        """Evaluate at the checkpoint's step where a signal kept the run from it."""
        step, every = self.state.global_step, self.state.eval_steps
        due = self.eval_dataset is not None and bool(every) and step % every == 0
        logged: list[dict[str, Any]] = self.state.log_history
        if not due or any("eval_loss" in line and line.get("step") == step for line in logged):
            return
        metrics = self._evaluate(None, None)
        if self._determine_best_metric(metrics, None):
            self.state.best_model_checkpoint = str(checkpoint)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_loss" in logs:
            self._add_earlier_steps(logs)
        super().log(logs, start_time)

    def _add_earlier_steps(self, logs: dict[str, float]) -> None:
        """Make the mean loss of a resumed run that of all its steps."""
        done = self.state.global_step - self._steps_before
        if self._loss_before is None:
            logs["train_loss_from_step"] = self._steps_before + 1
        elif self.state.global_step:
            total = self._loss_before + logs["train_loss"] * done
            logs["train_loss"] = total / self.state.global_step

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._loss_before is not None:
            # A collective, so on every rank: what was not yet logged is still each rank's own.
            rest = cast("Any", self.accelerator.reduce(self._tr_loss, "mean")).item()
            total = self._loss_before + self._total_loss_scalar + rest
            self._set_totals({"loss_sum": total if math.isfinite(total) else None})
        super()._save_checkpoint(model, trial)
        if self.args.should_save and self.saving is not None:
            file = Path(self.args.output_dir or "") / f"{checkpoints.PREFIX}{self.state.global_step}" / _STATE  # fmt: skip
            document = json.loads(file.read_text("utf-8"))
            if strict(document) != document:
                write_json(file, document)

    def _set_totals(self, totals: dict[str, Any]) -> None:
        states: Any = self.state.stateful_callbacks
        states[_TOTALS] = totals

    def _load_best_model(self) -> None:
        """Load the best checkpoint, also where other ranks, another ZeRO stage or precision wrote it."""
        best = Path(self.state.best_model_checkpoint or "")
        self.saver.wait()
        barrier()  # rank 0 completes it
        flaw = checkpoints.inspect(best).flaw
        if flaw:
            warn(f"{best.name}, the best checkpoint, cannot be used ({flaw}): the model stays as it is.")  # fmt: skip
            return
        engine = self.engine()
        stage = int(engine.zero_optimization_stage())
        ranks = checkpoints.world_size_of(best)
        precision = "bf16" if self.args.bf16 else "fp32"
        own = checkpoints.is_laid_out_for(best, stage, precision)
        foreign = ranks not in {None, self.args.world_size} or not own
        if foreign:
            universal.convert(best, stage)
        engine._config.load_universal_checkpoint = foreign  # noqa: SLF001  # set for the checkpoint resumed from, perhaps
        super()._load_best_model()
        if foreign:
            barrier()
            if self.args.should_save:
                universal.forget(best)

    def take_own_rates(self) -> None:
        """Let this run's learning rate, schedule and decay hold where a checkpoint was loaded."""
        rates.take_effect(
            self.lr_scheduler,
            learning_rate=self.args.learning_rate,
            weight_decays=self.weight_decays,
        )
