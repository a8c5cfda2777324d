"""A training run after start-up: data, model, Trainer, final model and results."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth_trainer.checkpoint import checkpoints, lineage, resume, run_state
from berth_trainer.checkpoint.description import Description
from berth_trainer.config import deepspeed_config, training_arguments
from berth_trainer.config.settings import Settings
from berth_trainer.data.collate import Collate
from berth_trainer.data.encode import Encoder
from berth_trainer.data.load import Material
from berth_trainer.data.packing import CollatePacked, PackedDataset
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.data.prompts import WORDINGS
from berth_trainer.memory import apply
from berth_trainer.memory.decide import Decision
from berth_trainer.memory.sizes import GIB
from berth_trainer.model import varlen_attention, zero3_layers
from berth_trainer.model.hardware import Hardware, prepare_deepspeed
from berth_trainer.model.loading import fit_to_model, load_tokenizer, parameter_count
from berth_trainer.model.prepare import load_for_training, prepare_model
from berth_trainer.outcome import schedule_check
from berth_trainer.outcome.finish import finish
from berth_trainer.training import comparable, reports
from berth_trainer.training.checklist import Asked, recomputing
from berth_trainer.training.metrics import MetricsFile
from berth_trainer.training.peers import Peers
from berth_trainer.training.ranks import FAILED, Ranks, barrier, leave, log0
from berth_trainer.training.session_data import Data, max_label_tokens, packed_rows, prepare_data
from berth_trainer.training.stop_signals import StopSignals, mark_stopped

if TYPE_CHECKING:
    from berth_trainer.training.callbacks import CheckpointRecorder  # imports transformers


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Everything that a run needs to know. All ranks hold the same, except for `ranks`."""

    settings: Settings
    variant: PromptVariant
    ranks: Ranks
    output_dir: Path
    model_name: str
    config: Any  # the model's, as transformers reads it
    hardware: Hardware
    max_steps: int  # 0: the epochs decide
    asked_gpus: int | None
    description: Description  # what config file and flags ask for
    decision: Decision | None = None  # the memory plan, where there is one

    def run(self, material: Material, start: resume.StartPoint) -> bool:
        """
        Train, save, evaluate. Return True where a signal stopped it after a whole checkpoint.

        Raises RunError, on rank 0, where the run came to its end and failed all the same.
        """
        tokenizer = load_tokenizer(self.model_name)
        length = fit_to_model(self.settings, self.config, tokenizer)
        encoder = Encoder(tokenizer, WORDINGS[material.language], length)
        data = prepare_data(material, self.settings, self.variant, encoder)
        zero = self._deepspeed_config(universal=start.converted)
        prepare_deepspeed(self.hardware)
        trainer = self._trainer(data, tokenizer, zero, length, start)
        schedule_check.check(self.settings, trainer, max_steps=self.max_steps, start=start.step)
        if self.ranks.is_main:  # not earlier: a run that is refused leaves all as it was
            self._prepare_folder(start)
            deepspeed_config.write(self.output_dir, self.settings.deepspeed.stage, zero)
        self._write_plan(data, trainer)
        parts = self._parts(trainer, start)
        peers = Peers(self.ranks, end=lambda: leave(FAILED))
        signals, recorder = self._add_callbacks(trainer, start, parts, peers)
        self._log_introduction(data, trainer, length)
        if self.ranks.is_main:
            made = parts(start.step + 1)
            comparable.write(self._metric_folders(), self.description, data.train, parts=made)
        checkpoint = start.checkpoint
        trained = False
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            trained = True
        finally:
            # With the handlers in place: launchers signal more than once. A rank that failed
            # beside others does not wait for them.
            if signals.stopped or (not trained and self.ranks.world_size == 1):
                trainer.saver.wait()
            if trained:
                peers.leave()
            signals.restore()
        done, last = start.step, trainer.state.max_steps
        if checkpoint and done == trainer.state.global_step == last and not signals.stopped:
            log0(f"all {done} steps had already been taken: there was nothing left to train.")
        if signals.stopped:
            self._mark_stopped(trainer, recorder.last, signals)
            return True
        collate = Collate(tokenizer.pad_token_id, length)
        made = parts(trainer.state.global_step)
        failed = finish(self, trainer, data, tokenizer, parts=made, collate=collate)
        trainer.saver.wait()
        if failed is not None:
            self.close()
            raise failed
        return False

    def close(self) -> None:
        """Destroy the process group: a rank that just exits can end in an abort."""
        from torch import distributed

        if distributed.is_initialized():
            barrier()
            distributed.destroy_process_group()

    def _prepare_folder(self, start: resume.StartPoint) -> None:
        """Make the output folder; what an earlier run left is moved aside, never deleted."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        if start.set_aside:
            aside = run_state.set_aside(self.output_dir)
            log0(f"what the earlier run left is in {aside}.")
        (self.output_dir / run_state.MARKER).unlink(missing_ok=True)
        if start.checkpoint is not None:
            resume.cut_metrics(self.output_dir / "metrics.jsonl", start.step)
        run_state.write(
            self.output_dir, "running", ablation=self.variant.key, resumed_from=start.step
        )

    def _deepspeed_config(self, *, universal: bool) -> dict[str, Any]:
        zero, hardware = self.settings.deepspeed, self.hardware
        return deepspeed_config.build(
            zero,
            cuda=hardware.cuda,
            cpu_adam=hardware.cpu_adam,
            world_size=self.ranks.world_size,
            states=self.settings.training.optimizer_states,
            universal=universal,
        )

    def _trainer(
        self,
        data: Data,
        tokenizer: Any,
        zero: dict[str, Any],
        length: int,
        start: resume.StartPoint,
    ) -> Any:
        """Load and prepare the model and wrap it in the Trainer, without this run's callbacks."""
        from transformers import set_seed

        from berth_trainer.training.persona_trainer import PersonaTrainer

        training, hardware = self.settings.training, self.hardware
        evaluating = bool(training.eval_steps) and len(data.validation) > 0
        arguments = training_arguments.build(
            training,
            output_dir=self.output_dir,
            deepspeed=zero,
            hardware=hardware,
            max_steps=self.max_steps,
            evaluating=evaluating,
            accumulation=start.accumulation or training.gradient_accumulation_steps,
        )
        arguments.report_to = reports.prepare(
            self.settings.report, os.environ, self.output_dir, run=self.variant.key
        )
        set_seed(training.seed)  # the Trainer seeds too late for a model made before it
        device = f"cuda:{self.ranks.local_rank}" if hardware.cuda else "cpu"
        model = load_for_training(self.model_name, self.settings, self.config, hardware, device)
        packed = (
            packed_rows(data.train, model, training.pack_tokens, self.ranks)
            if training.pack_tokens
            else None
        )
        bounds = packed is not None and varlen_attention.enable(model, device)
        pad = tokenizer.pad_token_id
        return PersonaTrainer(
            collate=Collate(pad, length),
            pad_id=pad,
            pack=CollatePacked(pad, training.pack_tokens, bounds) if packed else None,
            keep=training.save_total_limit,
            save_in_background=training.save_in_background,
            by_layers=zero3_layers.by_layers(self.settings.deepspeed),
            model=prepare_model(model, self.settings),
            args=arguments,
            train_dataset=packed or data.train,
            eval_dataset=data.validation if evaluating else None,
        )

    def _parts(self, trainer: Any, start: resume.StartPoint) -> Callable[[int], list[lineage.Part]]:
        """Return what tells in which parts the steps up to one were made, and with what."""
        arguments = trainer.args
        this: dict[str, Any] = {
            "settings": self.description,
            "ranks": arguments.world_size,
            "samples": arguments.per_device_train_batch_size
            * arguments.gradient_accumulation_steps
            * arguments.world_size,
        }
        return lambda step: lineage.with_this(start.parts, step=step, **this)

    def _add_callbacks(
        self,
        trainer: Any,
        start: resume.StartPoint,
        parts: Callable[[int], list[lineage.Part]],
        peers: Peers,
    ) -> tuple[StopSignals, "CheckpointRecorder"]:
        """Give the Trainer this run's callbacks; return those that the end of the run asks."""
        from transformers import PrinterCallback, ProgressCallback

        from berth_trainer.checkpoint.early_stopping import EarlyStopping
        from berth_trainer.training import callbacks

        training, arguments = self.settings.training, trainer.args
        untrained = bool(getattr(self.config, "untrained", False))
        signals = StopSignals()
        recorder = callbacks.CheckpointRecorder(
            keep=training.save_total_limit,
            trainer=trainer,
            batch=checkpoints.Batch(
                samples=training.batch_size
                * arguments.gradient_accumulation_steps
                * arguments.world_size,
                configured=training.batch_size * training.gradient_accumulation_steps,
            ),
            run=lambda step: {
                "settings": self.description,
                "stage": self.settings.deepspeed.stage,
                "parts": parts(step),
            },
        )
        metrics = MetricsFile(self._metric_folders()) if self.ranks.is_main else None
        vocabulary = None if untrained else self.config.get_text_config().vocab_size
        for replaced in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(replaced)
        for callback in (
            callbacks.MetricLines(metrics, vocabulary),
            recorder,
            callbacks.Progress(),
            callbacks.StopWithCheckpoint(signals, peers, last_saving=lambda: trainer.last_saving_s),
            callbacks.StartupChecklist(self._asked(), engine=trainer.engine, ranks=self.ranks),
        ):
            trainer.add_callback(callback)
        if start.converted and start.checkpoint:
            trainer.add_callback(
                callbacks.ConvertedCheckpoint(start.checkpoint, trainer=trainer, ranks=self.ranks)
            )
        if start.checkpoint:
            trainer.add_callback(callbacks.OwnOptimizer(trainer))
        if trainer.eval_dataset is not None and training.early_stopping_patience:
            trainer.add_callback(EarlyStopping(training.early_stopping_patience))
        return signals, recorder

    def _write_plan(self, data: Data, trainer: Any) -> None:
        """Write the plan with the data's number of label tokens to `plan.json`; log its peak."""
        if self.decision is None:
            return
        rows = trainer.train_dataset
        packed = rows if isinstance(rows, PackedDataset) else None
        learned = max_label_tokens(data.train, packed, self.settings.training.batch_size)
        decision = self.decision.with_label_tokens(learned)
        trainer.plan_gib = decision.need.allocated / GIB
        if self.ranks.is_main:
            apply.write_plan(decision, self._metric_folders())

    def _asked(self) -> Asked:
        zero, hardware = self.settings.deepspeed, self.hardware
        return Asked(
            config=self.settings.source,
            gpus=self.asked_gpus,
            stage=zero.stage,
            offload_optimizer=zero.offload_optimizer,
            offload_param=zero.offload_param if zero.stage == 3 else "none",
            checkpointing=recomputing(self.settings, self.config),
            attention=hardware.attention,
            precision=hardware.precision,
        )

    def _metric_folders(self) -> list[Path]:
        run_dir = os.environ.get("BERTH_RUN_DIR")
        return [self.output_dir, *([Path(run_dir)] if run_dir else [])]

    def _log_introduction(self, data: Data, trainer: Any, length: int) -> None:
        count = parameter_count(trainer.model)
        log0(f"prompt variant {self.variant.name}: prompts carry {', '.join(self.variant.parts)}.")
        log0(
            f"{len(data.train):,} samples to train on, {len(data.validation):,} to validate, "
            f"{len(data.test):,} to test; {count:,} parameters; at most {length:,} tokens a sample."
        )

    def _mark_stopped(self, trainer: Any, checkpoint: Path | None, signals: StopSignals) -> None:
        step = trainer.state.global_step
        log0(
            f"stopped at step {step}; {checkpoint} is complete, and --resume continues from it."
            if checkpoint
            else f"stopped at step {step}, without a checkpoint."
        )
        if self.ranks.is_main:
            run_state.write(self.output_dir, "stopped", step=step)
            mark_stopped(
                self._metric_folders(), step=step, checkpoint=checkpoint, by=signals.received
            )
