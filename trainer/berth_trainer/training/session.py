"""The heavy half of a run: model, trainer, training, final model."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint import checkpoints, resume
from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.checkpoint.output_paths import FINAL_ADAPTER, FINAL_MODEL
from berth_trainer.config import deepspeed_config, training_arguments
from berth_trainer.config.settings import Settings
from berth_trainer.data.collate import Collate
from berth_trainer.data.encode import Encoder
from berth_trainer.data.load import Material
from berth_trainer.data.packing import CollatePacked, PackedDataset
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.data.prompts import WORDINGS
from berth_trainer.errors import UserError
from berth_trainer.memory import apply
from berth_trainer.memory.decide import Decision
from berth_trainer.memory.sizes import GIB
from berth_trainer.model import chunked_loss, fused_layers, varlen_attention, zero3_leaf_layers
from berth_trainer.model.fused_layers import compiler_trouble
from berth_trainer.model.hardware import Hardware, prepare_deepspeed
from berth_trainer.model.loading import (
    fit_to_model,
    load_model,
    load_tokenizer,
    parameter_count,
)
from berth_trainer.model.lora import merge
from berth_trainer.model.prepare import prepare_model
from berth_trainer.training import reports
from berth_trainer.training.checklist import Asked
from berth_trainer.training.metrics import MetricsFile
from berth_trainer.training.ranks import Ranks, barrier, log0
from berth_trainer.training.session_data import Data, max_label_tokens, packed_rows, prepare_data
from berth_trainer.training.stop_signals import MARKER, StopSignals, mark_stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Everything a run needs to know. Every rank holds the same, but for `ranks`."""

    settings: Settings
    variant: PromptVariant
    ranks: Ranks
    output_dir: Path
    model_name: str
    config: Any  # the model's, as transformers reads it
    hardware: Hardware
    max_steps: int  # 0: the epochs decide
    asked_gpus: int | None
    decision: Decision | None = None  # the memory plan, where there is one

    def run(self, material: Material, start: resume.StartPoint) -> bool:
        """Train, save, evaluate. True where a signal stopped it after a whole checkpoint."""
        for sentence in start.notes:
            log0(sentence)
        config, hardware = self.config, self.hardware
        tokenizer = load_tokenizer(self.model_name)
        length = fit_to_model(self.settings, config, tokenizer)
        encoder = Encoder(tokenizer, WORDINGS[material.language], length)
        data = prepare_data(material, self.settings, self.variant, encoder)
        zero = deepspeed_config.build(
            self.settings.deepspeed,
            cuda=hardware.cuda,
            cpu_adam=hardware.cpu_adam,
            world_size=self.ranks.world_size,
            states=self.settings.training.optimizer_states,
            fetch_ahead=zero3_leaf_layers.fetch_ahead(self.settings.deepspeed, config),
            universal=start.converted,
        )
        if self.ranks.is_main:
            self._prepare_folder(start)
            deepspeed_config.write(self.output_dir, self.settings.deepspeed.stage, zero)
        prepare_deepspeed(hardware)
        trainer, signals, recorder = self._trainer(
            data, tokenizer, config, hardware, zero, length, start
        )
        self._introduce(data, trainer, length)
        try:
            trainer.train(
                resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None
            )
        finally:
            signals.restore()
        done = checkpoints.inspect(start.checkpoint).step if start.checkpoint else None
        if done == trainer.state.global_step and not signals.stopped:
            log0(f"all {done} steps had been taken already: nothing was left to train.")
        if signals.stopped:
            self._mark_stopped(trainer, recorder.last, signals)
            return True
        self._log_early_stop(trainer)
        self._finish(trainer, data)
        if self.ranks.is_main:
            final = self.output_dir / FINAL_MODEL
            if self.settings.lora.r:
                adapter = self.output_dir / FINAL_ADAPTER
                merge(adapter, self.model_name, config=config, hardware=hardware, into=final)
            tokenizer.save_pretrained(str(final))
            log0(f"finished: the model is in {final}")
        return False

    def close(self) -> None:
        """Leave the process group in order: a rank that just exits can end in an abort."""
        from torch import distributed

        if distributed.is_initialized():
            barrier()
            distributed.destroy_process_group()

    def _prepare_folder(self, start: resume.StartPoint) -> None:
        """Make the output folder; checkpoints of an earlier run move aside, never away."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        (self.output_dir / MARKER).unlink(missing_ok=True)
        if start.set_aside:
            aside = checkpoints.set_aside(self.output_dir)
            log0(f"checkpoints of the earlier run are in {aside}.")
        metrics = self.output_dir / "metrics.jsonl"
        if start.checkpoint is None:
            metrics.unlink(missing_ok=True)
        else:
            resume.cut_metrics(metrics, checkpoints.inspect(start.checkpoint).step)

    def _trainer(
        self,
        data: Data,
        tokenizer: Any,
        config: Any,
        hardware: Hardware,
        zero: dict[str, Any],
        length: int,
        start: resume.StartPoint,
    ) -> Any:
        from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, set_seed

        from berth_trainer.training.callbacks import (
            CheckpointRecorder,
            ConvertedCheckpoint,
            MetricLines,
            Progress,
            StartupChecklist,
            StopWithCheckpoint,
        )
        from berth_trainer.training.persona_trainer import PersonaTrainer

        training = self.settings.training
        evaluating = bool(training.eval_steps) and len(data.validation) > 0
        accumulation = start.accumulation or training.gradient_accumulation_steps
        arguments = training_arguments.build(
            training,
            output_dir=self.output_dir,
            deepspeed=zero,
            hardware=hardware,
            max_steps=self.max_steps,
            evaluating=evaluating,
            accumulation=accumulation,
        )
        arguments.report_to = reports.prepare(
            self.settings.report, os.environ, self.output_dir, run=self.variant.key
        )
        set_seed(training.seed)  # the Trainer seeds too late for a model made before it
        device = f"cuda:{self.ranks.local_rank}" if hardware.cuda else "cpu"
        four_bit = device if self.settings.lora.quantize == "4bit" else None
        model = load_model(self.model_name, config, hardware, four_bit_on=four_bit)
        self._install_fused_layers(model, config, hardware, device)
        if training.loss_chunk and chunked_loss.is_able(model):
            chunked_loss.install(model, training.loss_chunk)
        packed = (
            packed_rows(data.train, model, training.pack_tokens, self.ranks)
            if training.pack_tokens
            else None
        )
        decision = self._planned(data, packed)
        bounds = packed is not None and varlen_attention.enable(model, device)
        model = prepare_model(model, self.settings)
        untrained = bool(getattr(config, "untrained", False))
        signals = StopSignals()
        recorder = CheckpointRecorder(
            keep=training.save_total_limit,
            ranks=self.ranks,
            batch=checkpoints.Batch(
                samples=training.batch_size * accumulation * arguments.world_size,
                configured=training.batch_size * training.gradient_accumulation_steps,
            ),
        )
        metrics = MetricsFile(self._metric_folders()) if self.ranks.is_main else None
        trainer = PersonaTrainer(
            collate=Collate(tokenizer.pad_token_id, length),
            pad_id=tokenizer.pad_token_id,
            pack=CollatePacked(tokenizer.pad_token_id, training.pack_tokens, bounds)
            if packed
            else None,
            plan_gib=decision.need.allocated / GIB if decision else None,
            model=model,
            args=arguments,
            train_dataset=packed or data.train,
            eval_dataset=data.validation if evaluating else None,
            callbacks=[
                MetricLines(metrics, None if untrained else config.get_text_config().vocab_size),
                recorder,
            ],
        )
        for replaced in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(replaced)
        trainer.add_callback(Progress())
        trainer.add_callback(StopWithCheckpoint(signals, last_saving=lambda: trainer.last_saving_s))
        trainer.add_callback(
            StartupChecklist(self._asked(hardware), engine=trainer.engine, ranks=self.ranks)
        )
        if start.converted and start.checkpoint:
            trainer.add_callback(
                ConvertedCheckpoint(start.checkpoint, trainer=trainer, ranks=self.ranks)
            )
        if evaluating and training.early_stopping_patience:
            trainer.add_callback(EarlyStoppingCallback(training.early_stopping_patience))
        return trainer, signals, recorder

    def _planned(self, data: Data, packed: PackedDataset | None) -> Decision | None:
        """The plan with what the data tell, in `plan.json` too."""
        if self.decision is None:
            return None
        learned = max_label_tokens(data.train, packed, self.settings.training.batch_size)
        decision = self.decision.with_label_tokens(learned)
        if self.ranks.is_main:
            apply.write_plan(decision, self._metric_folders())
        return decision

    def _install_fused_layers(
        self, model: Any, config: Any, hardware: Hardware, device: str
    ) -> None:
        """Layers that keep little, compiled where that works; a line says what and why not."""
        if not apply.uses_fused_layers(self.settings, config, hardware):
            return
        wish = self.settings.training.compile
        trouble = "training.compile is off"
        if wish == "auto" and not self.settings.training.pack_tokens:
            trouble = "without training.pack_tokens every length would be compiled anew"
        elif wish != "off":
            trouble = "there is no GPU" if not hardware.cuda else compiler_trouble(device)
            if wish == "on" and trouble:
                raise UserError(f"training.compile is on, but torch.compile fails here: {trouble}.")
        fused_layers.install(model, compiled=not trouble)
        how = f"not compiled, because {trouble}" if trouble else "each compiled to one kernel"
        log0(f"norms and gated blocks keep little for the backward pass; {how}.")

    def _asked(self, hardware: Hardware) -> Asked:
        zero = self.settings.deepspeed
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

    def _introduce(self, data: Data, trainer: Any, length: int) -> None:
        count = parameter_count(trainer.model)
        log0(f"prompt variant {self.variant.name}: prompts carry {', '.join(self.variant.parts)}.")
        log0(
            f"{len(data.train):,} samples to train on, {len(data.validation):,} to validate, "
            f"{len(data.test):,} to test; {count:,} parameters; at most {length:,} tokens a sample."
        )

    def _mark_stopped(self, trainer: Any, checkpoint: Path | None, signals: StopSignals) -> None:
        step = trainer.state.global_step
        log0(f"stopped at step {step}; {checkpoint} is whole, --resume goes on from it.")
        if self.ranks.is_main:
            mark_stopped(
                self._metric_folders(), step=step, checkpoint=checkpoint, by=signals.received
            )

    def _log_early_stop(self, trainer: Any) -> None:
        state, patience = trainer.state, self.settings.training.early_stopping_patience
        if not patience or state.global_step >= state.max_steps:
            return
        best = Path(state.best_model_checkpoint or "").name
        log0(
            f"stopped early at step {state.global_step} of {state.max_steps}: no lower evaluation "
            f"loss in {patience} evaluations. The model goes back to {best}, loss "
            f"{state.best_metric or 0:.4f}."
        )

    def _finish(self, trainer: Any, data: Data) -> None:
        """Save what was trained, test it, write the results."""
        name = FINAL_ADAPTER if self.settings.lora.r else FINAL_MODEL
        trainer.save_model(str(self.output_dir / name))
        results: dict[str, Any] = {
            "ablation": self.variant.key,
            "steps": trainer.state.global_step,
        }
        if len(data.test):
            tested = trainer.test(data.test)
            results |= {
                "test_loss": tested["test_loss"],
                "test_perplexity": tested["test_perplexity"],
            }
            log0(
                f"test: loss {tested['test_loss']:.4f}, perplexity {tested['test_perplexity']:.2f} "
                f"over {tested['test_tokens']:,.0f} tokens"
            )
        evaluated = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
        if evaluated:
            results["best_eval_loss"] = min(evaluated)
        if self.ranks.is_main:
            write_json(self.output_dir / "results.json", results)


def recomputing(settings: Settings, config: Any) -> str:
    """What the checklist is to find: on, off, or partly on where some layers are left out."""
    training = settings.training
    if not training.gradient_checkpointing:
        return "off"
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    return "partly on" if 0 < training.checkpoint_layers < layers else "on"
