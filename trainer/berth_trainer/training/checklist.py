"""Start-up checklist: each line is read back from the engine, not from the settings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.config.settings import Settings
from berth_trainer.model import fused_layers, hosted_adam, zero3_layers
from berth_trainer.model.activation_checkpointing import decoder_layers
from berth_trainer.model.chunked_loss import chunk_of
from berth_trainer.training.ranks import log0, warn


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist; with `asked` empty, `found` cannot be wrong."""

    item: str
    asked: str
    found: str
    remark: str = ""

    @property
    def true(self) -> bool:
        return not self.asked or self.asked == self.found


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Settings that flags and config file ask for."""

    config: Path
    gpus: int | None
    stage: int
    offload_optimizer: str
    offload_param: str
    checkpointing: str  # on, partly on, off
    attention: str
    precision: str


def recomputing(settings: Settings, config: Any) -> str:
    """Return what the checklist should find: on, off, or partly on where some layers are exempt."""
    training = settings.training
    if not training.gradient_checkpointing:
        return "off"
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    return "partly on" if 0 < training.checkpoint_layers < layers else "on"


def read_back(asked: Asked, *, engine: Any, model: Any, world_size: int) -> list[Check]:
    """Return what the DeepSpeed engine and the model's modules really do."""
    import torch

    optimizer = getattr(engine, "optimizer", None)
    layers = decoder_layers(model)
    active = sum(1 for layer in layers if layer.gradient_checkpointing)
    device = str(next(iter(model.parameters())).device.type)
    stage = _call(engine, "zero_optimization_stage")
    return [
        Check("config file", "", str(asked.config)),
        Check("DeepSpeed", "initialised", "initialised" if _is_engine(engine) else "missing",
              remark=f"version {_version()}"),
        Check("GPUs" if device == "cuda" else "ranks", _text(asked.gpus), str(world_size),
              remark=_device_name(torch, device)),
        Check("ZeRO stage", str(asked.stage), str(stage)),
        Check("optimizer offload", asked.offload_optimizer, _offloaded(optimizer, "optimizer")),
        Check("parameter offload", asked.offload_param, _offloaded(optimizer, "param")),
        *([Check("gathering", "", _gathering(engine))] if stage == 3 else []),
        Check("activation checkpointing", asked.checkpointing,
              "off" if not active else "on" if active == len(layers) else "partly on", remark=f"{active} of {len(layers)} layers" if layers else ""),
        Check("attention", "" if asked.attention == "auto" else asked.attention,
              str(getattr(model.config, "_attn_implementation", "unknown"))),
        Check("trained parameters", "", _trained(model)),
        Check("loss", "", _loss(model)),
        Check("layers", "", _layers(model)),
        Check("optimizer", "", _optimizer(optimizer)),
        Check("precision", asked.precision, _precision(engine)),
    ]  # fmt: skip


def report(checks: Sequence[Check], output_dir: Path) -> None:
    """Print the list on rank 0, warn of each line that differs, write it as JSON."""
    log0("start-up checklist")
    for check in checks:
        found = check.found + (f" ({check.remark})" if check.remark else "")
        asked = "" if check.true else f", asked for {check.asked}"
        log0(f"  {'✓' if check.true else '✗'} {check.item}: {found}{asked}")
    for check in checks:
        if not check.true:
            warn(f"{check.item} is {check.found}, but {check.asked} was asked for.")
    write_json(
        output_dir / "checklist.json",
        {"checks": [asdict(check) | {"ok": check.true} for check in checks]},
    )


def _trained(model: Any) -> str:
    sizes = [(p.requires_grad, int(getattr(p, "ds_numel", p.numel()))) for p in model.parameters()]
    return f"{sum(n for trained, n in sizes if trained):,} of {sum(n for _, n in sizes):,}"


def _loss(model: Any) -> str:
    chunk = chunk_of(model)
    return f"in chunks of {chunk} positions, without whole logits" if chunk else "stock"


def _layers(model: Any) -> str:
    count = fused_layers.count_of(model)
    return f"{count} fused norms and gated blocks" if count else "stock"


def _gathering(engine: Any) -> str:
    layers = zero3_layers.layers_of(engine)
    if layers is None:
        return "module by module, by DeepSpeed's hooks"
    units = f"{len(layers.units)} layers, each as a whole, by Berth's hooks"
    return f"{units}; nothing to gather on one GPU" if layers.resident else units


def _optimizer(wrapped: Any) -> str:
    """Return the optimizer inside DeepSpeed's, and the precision of its states."""
    inner = getattr(wrapped, "optimizer", None)
    if inner is None:
        return "unknown"
    fused = ", one kernel" if inner.defaults.get("fused") else ""
    if hosted_adam.is_installed(wrapped):
        fused += ", states on the host updated piece by piece"
    masters = getattr(wrapped, "single_partition_of_fp32_groups", None) or getattr(
        wrapped, "fp32_partitioned_groups_flat", None
    )
    kind = str(masters[0].dtype).removeprefix("torch.") if masters else "unknown"
    return f"{type(inner).__name__}{fused}, master weights in {kind}"


def _is_engine(engine: Any) -> bool:
    return any(kind.__name__ == "DeepSpeedEngine" for kind in type(engine).__mro__)


def _offloaded(optimizer: Any, what: str) -> str:
    """Return `cpu` or `none`: stage 3 has one flag per kind, stages 1 and 2 `cpu_offload`."""
    flag = getattr(optimizer, f"offload_{what}", None)
    if flag is None and what == "optimizer":
        flag = getattr(optimizer, "cpu_offload", None)
    return "cpu" if flag else "none"


def _precision(engine: Any) -> str:
    kind = str(_call(engine, "get_data_types")[0] if hasattr(engine, "get_data_types") else "")
    return {"torch.bfloat16": "bf16", "torch.float32": "fp32", "torch.float16": "fp16"}.get(kind, kind)  # fmt: skip


def _call(engine: Any, name: str) -> Any:
    method = getattr(engine, name, None)
    return method() if callable(method) else None


def _version() -> str:
    import deepspeed

    return str(deepspeed.__version__)


def _device_name(torch: Any, device: str) -> str:
    return str(torch.cuda.get_device_name()) if device == "cuda" else "on the CPU"


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
