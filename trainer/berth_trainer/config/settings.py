"""Typed sections of the config file; docs/trainer.md explains each key."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from berth_trainer.data.prompt_variants import PromptVariant


def _integer(value: Any) -> Any:
    """Return 3.0 as 3, which JSON does not distinguish, and refuse true, which Python counts as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "a whole number")
    return int(value) if isinstance(value, float) and value.is_integer() else value


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_Integer = BeforeValidator(_integer)
Count = Annotated[int, _Integer, Field(ge=0)]
Positive = Annotated[int, _Integer, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Strategy = Literal["all_previous", "fixed_ratio", "fixed_count", "random", "relevance"]
HeldOut = Annotated[float, Field(ge=0.0, le=0.5)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ModelSettings:
    path: str = ""
    attention: Literal["auto", "sdpa", "flash_attention_3", "flash_attention_2", "eager"] = "auto"
    dtype: Literal["auto", "bf16", "fp32"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DataSettings:
    dataset: Literal["auto", "realpersonachat", "digitaltwin"] = "auto"
    train_path: str = ""
    test_path: str = ""
    language: Literal["auto", "ja", "zh", "en"] = "auto"
    validation_fraction: HeldOut = 0.05
    test_fraction: HeldOut = 0.05
    max_train_samples: Count = 0  # 0: all
    max_eval_samples: Count = 500  # 0: all
    cache_folder: str = ""  # "": the user's cache folder; none: no cache
    cache_gib: Positive = 100


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DialogueHistorySettings:
    strategy: Strategy = "all_previous"
    max_history: Positive = 15
    count: Positive = 5
    ratio: Fraction = 0.3


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class TrainingSettings:
    num_epochs: NonNegative = 3.0
    max_steps: Count = 0  # 0: num_epochs decides
    batch_size: Positive = 1
    eval_batch_size: Count = 0  # 0: batch_size
    plan: Literal["manual", "auto"] = "manual"  # auto: what the file leaves open
    global_batch: Count = 0  # samples a step over all GPUs; 0: what the rest makes
    gradient_accumulation_steps: Positive = 1
    learning_rate: NonNegative = 2e-5
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    max_length: Annotated[int, _Integer, Field(ge=32)] = 2048
    pack_tokens: Count = 0  # tokens of a packed row; 0: one row for each sample
    warmup_steps: Count = 0
    weight_decay: NonNegative = 0.0
    max_grad_norm: NonNegative = 1.0
    logging_steps: Positive = 10
    eval_steps: Count = 100  # 0: never
    save_steps: Count = 500  # 0: only when stopped
    save_total_limit: Positive = 2
    save_in_background: Literal["auto", "on", "off"] = "auto"  # copied to the host first
    early_stopping_patience: Count = 0  # 0: off
    gradient_checkpointing: bool = True
    checkpoint_layers: Count = 0  # how many of the first are recomputed; 0: all
    optimizer_states: Literal["fp32", "bf16", "8bit"] = "fp32"
    fused_layers: Literal["auto", "on", "off"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    loss_chunk: Count = 512  # label tokens a piece; 0: the stock loss
    dataloader_num_workers: Count = 0
    seed: Count = 42


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DeepSpeedSettings:
    stage: Annotated[Literal[1, 2, 3], _Integer] = 3
    offload_optimizer: Literal["cpu", "none"] = "cpu"
    offload_param: Literal["cpu", "none"] = "cpu"
    pin_memory: bool = True
    param_persistence_threshold: Count = 0  # 0: ten times the hidden size
    gather: Literal["layers", "modules"] = "layers"  # at a time, under stage 3


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PredictSettings:
    max_new_tokens: Positive = 128
    batch_size: Positive = 8
    temperature: NonNegative = 0.0  # 0: always the likeliest token


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReportSettings:
    tensorboard: bool = False
    wandb: Literal["off", "online", "offline"] = "off"


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LoraSettings:
    r: Count = 0  # 0: train the whole model
    alpha: Positive = 16
    dropout: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    target_modules: str = "all-linear"
    quantize: Literal["none", "4bit"] = "none"  # of the frozen weights: QLoRA


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a run. `source` is the config file; relative paths start at its folder."""

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
    """Keys that the file sets, like `training.batch_size`: nothing overrules those."""

    def locate(self, path: str) -> Path:
        """Return a path of the config file, relative to the file's folder, else to the current one."""
        given = Path(path).expanduser()
        beside = self.source.parent / given
        return given if given.is_absolute() or not beside.exists() else beside
