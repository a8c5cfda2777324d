"""TrainingArguments of transformers, built from the config file's training section."""

from pathlib import Path
from typing import Any

from berth_trainer.config.settings import TrainingSettings
from berth_trainer.model.hardware import Hardware


def save_steps(training: TrainingSettings) -> int:
    """
    Return `save_steps`, with early stopping rounded up to a multiple of `eval_steps`:
    the best checkpoint can only be one that was evaluated.
    """
    if not training.early_stopping_patience or not training.eval_steps or not training.save_steps:
        return training.save_steps
    return -(-training.save_steps // training.eval_steps) * training.eval_steps


def build(
    training: TrainingSettings,
    *,
    output_dir: Path,
    deepspeed: dict[str, Any],
    hardware: Hardware,
    max_steps: int,
    evaluating: bool,
    accumulation: int,
) -> Any:
    """
    Return the TrainingArguments; building them arms ZeRO-3, so it comes before the model.

    `evaluating` False where there is nothing held out.
    """
    from transformers import TrainingArguments

    saving = save_steps(training)
    best = evaluating and bool(training.early_stopping_patience) and bool(saving)
    return TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=training.num_epochs,
        max_steps=max_steps or -1,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.eval_batch_size or training.batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler,
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        logging_steps=training.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # it hides a diverged run, and costs a GPU wait a step
        eval_strategy="steps" if evaluating else "no",
        eval_steps=training.eval_steps if evaluating else None,
        save_strategy="steps" if saving else "no",
        save_steps=saving or 500,
        save_total_limit=None,  # checkpoints.rotate deletes: only it knows which are whole
        load_best_model_at_end=best,
        metric_for_best_model="eval_loss" if evaluating else None,
        greater_is_better=False if evaluating else None,
        # Recomputing is switched on by checkpointing.enable, which can leave layers out.
        optim="adamw_bnb_8bit" if training.optimizer_states == "8bit" else "adamw_torch_fused",
        bf16=hardware.precision == "bf16",
        use_cpu=not hardware.cuda,
        dataloader_num_workers=training.dataloader_num_workers,
        dataloader_pin_memory=hardware.cuda,
        remove_unused_columns=False,
        report_to=[],
        seed=training.seed,
        deepspeed=deepspeed,
    )
