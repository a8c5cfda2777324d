"""The config file's sections as typed settings; docs/trainer.md explains each key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from berth_trainer.data.prompt_variants import PromptVariant

ATTENTIONS = ("auto", "sdpa", "flash_attention_3", "flash_attention_2", "eager")
DATASETS = ("auto", "realpersonachat", "digitaltwin")
STRATEGIES = ("all_previous", "fixed_ratio", "fixed_count", "random", "relevance")


def knob(
    default: Any,
    *,
    choices: tuple[Any, ...] = (),
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A setting with its default and what the config file may say instead."""
    limits = {"choices": choices, "least": least, "most": most}
    return field(default=default, metadata=limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    path: str = knob("")
    attention: str = knob("auto", choices=ATTENTIONS)
    dtype: str = knob("auto", choices=("auto", "bf16", "fp32"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    dataset: str = knob("auto", choices=DATASETS)
    train_path: str = knob("")
    test_path: str = knob("")
    language: str = knob("auto", choices=("auto", "ja", "zh", "en"))
    validation_fraction: float = knob(0.05, least=0.0, most=0.5)
    test_fraction: float = knob(0.05, least=0.0, most=0.5)
    max_train_samples: int = knob(0, least=0)  # 0: all
    max_eval_samples: int = knob(500, least=0)  # 0: all
    cache_folder: str = knob("")  # "": the user's cache folder; none: no cache
    cache_gib: int = knob(100, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueHistorySettings:
    strategy: str = knob("all_previous", choices=STRATEGIES)
    max_history: int = knob(15, least=1)
    count: int = knob(5, least=1)
    ratio: float = knob(0.3, least=0.0, most=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    num_epochs: float = knob(3.0, least=0.0)
    max_steps: int = knob(0, least=0)  # 0: num_epochs decides
    batch_size: int = knob(1, least=1)
    eval_batch_size: int = knob(0, least=0)  # 0: batch_size
    plan: str = knob("manual", choices=("manual", "auto"))  # auto: what the file leaves open
    global_batch: int = knob(0, least=0)  # samples a step over all GPUs; 0: what the rest makes
    gradient_accumulation_steps: int = knob(1, least=1)
    learning_rate: float = knob(2e-5, least=0.0)
    lr_scheduler: str = knob(
        "linear", choices=("linear", "cosine", "constant", "constant_with_warmup")
    )
    max_length: int = knob(2048, least=32)
    pack_tokens: int = knob(0, least=0)  # tokens of a packed row; 0: one row for each sample
    warmup_steps: int = knob(0, least=0)
    weight_decay: float = knob(0.0, least=0.0)
    max_grad_norm: float = knob(1.0, least=0.0)
    logging_steps: int = knob(10, least=1)
    eval_steps: int = knob(100, least=0)  # 0: never
    save_steps: int = knob(500, least=0)  # 0: only when stopped
    save_total_limit: int = knob(2, least=1)
    early_stopping_patience: int = knob(0, least=0)  # 0: off
    gradient_checkpointing: bool = knob(default=True)
    checkpoint_layers: int = knob(0, least=0)  # how many of the first are recomputed; 0: all
    optimizer_states: str = knob("fp32", choices=("fp32", "bf16", "8bit"))
    fused_layers: str = knob("auto", choices=("auto", "on", "off"))
    compile: str = knob("auto", choices=("auto", "on", "off"))
    loss_chunk: int = knob(512, least=0)  # label tokens a piece; 0: the stock loss
    dataloader_num_workers: int = knob(0, least=0)
    seed: int = knob(42, least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSpeedSettings:
    stage: int = knob(3, choices=(1, 2, 3))
    offload_optimizer: str = knob("cpu", choices=("cpu", "none"))
    offload_param: str = knob("cpu", choices=("cpu", "none"))
    pin_memory: bool = knob(default=True)
    param_persistence_threshold: int = knob(0, least=0)  # 0: ten times the hidden size
    gather: str = knob("layers", choices=("layers", "modules"))  # at a time, under stage 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    max_new_tokens: int = knob(128, least=1)
    batch_size: int = knob(8, least=1)
    temperature: float = knob(0.0, least=0.0)  # 0: always the likeliest token


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    tensorboard: bool = knob(default=False)
    wandb: str = knob("off", choices=("off", "online", "offline"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    r: int = knob(0, least=0)  # 0: train the whole model
    alpha: int = knob(16, least=1)
    dropout: float = knob(0.0, least=0.0, most=0.9)
    target_modules: str = knob("all-linear")
    quantize: str = knob("none", choices=("none", "4bit"))  # of the frozen weights: QLoRA


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole config file. `source` is where it lies; relative paths start there."""

    source: Path
    model: ModelSettings
    data: DataSettings
    history: DialogueHistorySettings
    training: TrainingSettings
    deepspeed: DeepSpeedSettings
    lora: LoraSettings
    predict: PredictSettings
    report: ReportSettings
    prompt_variants: Mapping[str, PromptVariant]
    warnings: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()
    """The keys that stand in the file, as `training.batch_size`: nothing overrules those."""

    def locate(self, path: str) -> Path:
        """A path of the config file: taken from the file's own folder, else from this one."""
        given = Path(path).expanduser()
        beside = self.source.parent / given
        return given if given.is_absolute() or not beside.exists() else beside
