"""The bar: TRL's SFTTrainer with packing and DeepSpeed on the same model and samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clock import clock_callback, count_tokens, measure, quieten
from gpus import own_device
from models import random_model
from phases import Phases
from shapes import config_of

if TYPE_CHECKING:
    from berth_trainer.data.tokens import TokenDataset


def run(row: Any, samples: TokenDataset, out: Path, result: Any, *, deadline: float) -> None:
    """Raises ImportError where trl is not installed; the table then says so."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from berth_trainer.config import deepspeed_config
    from berth_trainer.config.settings import DeepSpeedSettings
    from berth_trainer.model.hardware import Hardware, prepare_deepspeed
    from berth_trainer.model.loading import parameter_count

    cuda = torch.cuda.is_available()
    hardware = Hardware(cuda, "bf16" if cuda else "fp32", "auto", cpu_adam=False)
    zero = deepspeed_config.build(
        DeepSpeedSettings(**row.deepspeed), cuda=cuda, cpu_adam=False, world_size=row.ranks
    )
    prepare_deepspeed(hardware)
    config = config_of(row.shape, row.layers)
    arguments = SFTConfig(
        output_dir=str(out),
        max_steps=row.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=row.training["gradient_accumulation_steps"],
        max_length=row.training["pack_tokens"],
        packing=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=cuda,
        use_cpu=not cuda,
        deepspeed=zero,
    )
    model = random_model(config, hardware, own_device(cuda=cuda), stage=row.deepspeed["stage"])
    # Only the target turn is learned, as in ours.
    rows = Dataset.from_list(
        [
            {
                "input_ids": one["input_ids"],
                "completion_mask": [int(label != -100) for label in one["labels"]],
            }
            for one in (samples[index] for index in range(len(samples)))
        ]
    )
    clock = clock_callback(deadline)
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        processing_class=_Tokenizer.make(),
        callbacks=[clock],
    )
    quieten(trainer)
    tokens = count_tokens(trainer, row.training["gradient_accumulation_steps"])
    phases = Phases()
    phases.watch(trainer)
    try:
        trainer.train()
    finally:
        result.parameters = parameter_count(model)
        measure(result, clock, tokens(), phases)


class _Tokenizer:
    """A tokenizer that only pads: the samples are ids already."""

    @staticmethod
    def make() -> Any:
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
        bare = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        return PreTrainedTokenizerFast(
            tokenizer_object=bare, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
        )
