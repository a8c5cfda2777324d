"""DeepSpeed configuration of a run, written to a file that the user can read."""

from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.config.settings import DeepSpeedSettings


def build(
    settings: DeepSpeedSettings,
    *,
    cuda: bool,
    cpu_adam: bool,
    world_size: int = 2,
    states: str = "fp32",
    universal: bool = False,
) -> dict[str, Any]:
    """
    Return the configuration; every key that TrainingArguments sets as well is "auto".

    Two sources for one number end in an unreadable assertion inside DeepSpeed, so there is one.
    `cpu_adam` False keeps torch's AdamW where the optimizer is offloaded: DeepSpeed's own must be
    compiled first. `states` bf16 keeps master weights, gradients and Adam's moments in bf16.
    `universal`: the run starts from a checkpoint in DeepSpeed's universal format.
    """
    bf16: dict[str, Any] = {"enabled": "auto"}
    if states == "bf16":
        bf16 |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    return {
        "bf16": bf16,
        "zero_optimization": _zero(settings, cuda=cuda, world_size=world_size),
        # Stage 3 updates fp32 states on the host by the GPU (see model.hosted_adam).
        "zero_force_ds_cpu_optimizer": cpu_adam and not (settings.stage == 3 and states == "fp32"),
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
        **({"checkpoint": {"load_universal": True}} if universal else {}),
    }


def _zero(settings: DeepSpeedSettings, *, cuda: bool, world_size: int) -> dict[str, Any]:
    """
    Return the `zero_optimization` section.

    A single rank communicates nothing: overlapping and copying gradients into buckets would cost
    time and memory and gain nothing.
    """
    several = world_size > 1
    bucketed = several or settings.stage == 3 or settings.offload_optimizer == "cpu"
    on_host = {"device": "cpu", "pin_memory": cuda and settings.pin_memory}
    zero: dict[str, Any] = {
        "stage": settings.stage,
        "overlap_comm": cuda and several,
        "contiguous_gradients": several or settings.stage == 3,
        # A bucket is allocated whole where gradients are copied into it; elsewhere the size only
        # decides how often they are reduced.
        "reduce_bucket_size": "auto" if bucketed else 200_000_000,
    }
    if settings.offload_optimizer == "cpu":
        zero["offload_optimizer"] = dict(on_host)
    if settings.stage == 3:
        if settings.offload_param == "cpu":
            zero["offload_param"] = dict(on_host)
        zero |= {
            "sub_group_size": 1_000_000_000,
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": settings.param_persistence_threshold or "auto",
            "stage3_max_live_parameters": 1_000_000_000,
            "stage3_max_reuse_distance": 1_000_000_000,
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return zero


def config_path(output_dir: Path, stage: int) -> Path:
    return output_dir / "deepspeed_config" / f"ds_config_zero{stage}.json"


def write(output_dir: Path, stage: int, config: dict[str, Any]) -> Path:
    """Write the configuration atomically and return its path. For rank 0."""
    path = config_path(output_dir, stage)
    write_json(path, config)
    return path
