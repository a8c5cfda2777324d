"""The bar: torch's FSDP2 on the same model and rows, with all that makes it fast."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clock import any_rank
from gpus import own_device
from shapes import config_of

if TYPE_CHECKING:
    from berth_trainer.data.tokens import TokenDataset

GIB = 1 << 30


def run(row: Any, samples: TokenDataset, out: Path, result: Any, *, deadline: float) -> None:
    """
    Train as a good loop would: fully_shard a layer, compiled, recomputed, fused AdamW.

    Weights, gradients and Adam's states are fp32, the computation bf16; the loss in chunks and
    attention by the samples' bounds are ours, and rows are those of the other trainers.
    """
    del out
    import torch

    from berth_trainer.data.packing import CollatePacked, PackedDataset, pack
    from berth_trainer.model.hardware import Hardware, prepare_deepspeed
    from berth_trainer.training.sampler import RankIndependentSampler

    cuda = torch.cuda.is_available()
    device = own_device(cuda=cuda)
    prepare_deepspeed(Hardware(cuda, "fp32", "auto", cpu_adam=False))  # gloo, on the CPU
    rank = _join(device)
    model, bounds = _model(row, device, cuda=cuda)
    result.parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=cuda)

    length, times = row.training["pack_tokens"], row.training["gradient_accumulation_steps"]
    packed = PackedDataset(samples, pack([int(n) for n in samples.lengths], length))
    collate = CollatePacked(0, length, bounds)
    order = list(RankIndependentSampler(len(packed), per_step=times * row.ranks, seed=42))
    ends, tokens, losses = [_now(cuda)], [], []
    for step in range(row.steps):
        seen, lost = 0, torch.zeros((), device=device)
        for micro in range(times):
            place = (step * times + micro) * row.ranks + rank
            batch = {name: value.to(device) if torch.is_tensor(value) else value
                     for name, value in collate([packed[order[place % len(order)]]]).items()}  # fmt: skip
            seen += int((batch["input_ids"] != 0).sum())
            loss = model(**batch).loss / times
            loss.backward()
            lost += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(round(float(lost), 4))
        tokens.append(float(seen))
        ends.append(_now(cuda))
        if any_rank(time.perf_counter() > deadline, device):
            break
    result.losses = losses
    warm = min(row.warm_up, len(tokens) - 1)
    result.time(sum(tokens[warm:]), ends[-1] - ends[warm])
    if cuda:
        result.allocated = round(torch.cuda.max_memory_allocated() / GIB, 2)
        result.reserved = round(torch.cuda.max_memory_reserved() / GIB, 2)


def _model(row: Any, device: str, *, cuda: bool) -> tuple[Any, bool]:
    """Return the model, sharded, and whether rows carry their samples' bounds."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from transformers import AutoModelForCausalLM

    from berth_trainer.model import activation_checkpointing, chunked_loss, varlen_attention

    torch.manual_seed(1)
    config = config_of(row.shape, row.layers)
    # On several GPUs each makes its own shards: fp32 weights of a large model fit on none whole.
    with torch.device("meta" if row.ranks > 1 else device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.config.use_cache = False
    chunked_loss.install(model, 512)
    bounds = varlen_attention.enable(model, device)
    buffers = dict(model.named_buffers()) if row.ranks > 1 else {}
    activation_checkpointing.enable(model, 0)
    low = torch.bfloat16 if cuda else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=low)
    for layer in activation_checkpointing.decoder_layers(model):
        if cuda:
            layer.forward = torch.compile(layer.forward, dynamic=False)  # dynamic was slower
        fully_shard(layer, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    if row.ranks > 1:
        _materialise(model, config, device, buffers)
    return model.train(), bounds


def _materialise(model: Any, config: Any, device: str, buffers: dict[str, Any]) -> None:
    """Give a model made without memory its shards, with values of its initialisation's width."""
    import torch
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

    model.to_empty(device=device)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):  # Gemma's norms count from 1
            torch.nn.init.zeros_(parameter)
        else:
            torch.nn.init.normal_(parameter, std=config.initializer_range)
    rotary = dict(Gemma3RotaryEmbedding(config).named_buffers())
    made = {f"model.rotary_emb.{name}": value for name, value in rotary.items()}
    made["model.embed_tokens.embed_scale"] = torch.tensor(float(config.hidden_size) ** 0.5)
    for name in buffers:
        model.get_buffer(name).copy_(made[name])


def _now(cuda: bool) -> float:  # noqa: FBT001
    import torch

    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def _join(device: str) -> int:
    """Open the process group, also of a single rank: fully_shard needs one."""
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        torch.cuda.set_device(torch.device(device))
        distributed.init_process_group("nccl")
    return distributed.get_rank()
