"""
Variable-length flash attention over packed rows, without a mask.

A block mask makes the kernel compute, or at least visit, the whole square of a row. torch carries
a flash attention that takes the samples' bounds instead, with sliding windows and grouped heads;
no further package is needed. Without CUDA the same function goes sample by sample.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from berth_trainer.training.ranks import log0

NAME = "berth_varlen"
"""Under this name transformers knows the function, once `register` was called."""

_TOLERANCE = 0.03  # bf16 against fp32, of values around one


def register() -> None:
    """
    Make the function known to transformers. Batches that are not packed go through sdpa.

    Idempotent.
    """
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def enable(model: Any, device: str) -> bool:
    """
    Switch `model` to it for packed rows, where it works here; a log line says so, or why not.

    On CUDA it is first compared with plain attention at the model's own head sizes.
    """
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa":  # noqa: SLF001  # transformers' own name for it
        return False  # asked for by name, or the model knows only that one
    reason = _misfit(config, device)
    if reason:
        log0(f"packed rows: block mask with sdpa, because {reason}.")
        return False
    register()
    for one in {id(model.config): model.config, id(config): config}.values():
        one._attn_implementation = NAME  # noqa: SLF001  # as above
    log0("packed rows: flash attention by the samples' bounds, without a mask.")
    return True


def attention(  # noqa: PLR0913  # transformers' call
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Any = None,
    max_length_q: int | None = None,
    **options: Any,
) -> tuple[Any, None]:
    """
    Transformers' attention call: query (batch, heads, tokens, width), result with tokens first.

    With `cu_seq_lens_q` the batch is one packed row and no sample sees another; the mask is then
    not looked at.
    """
    if cu_seq_lens_q is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    run = _flash if query.is_cuda else _one_by_one
    out = run(rows, cu_seq_lens_q, max_length_q, scaling, sliding_window)
    return out.unsqueeze(0), None


def _flash(qkv: Sequence[Any], bounds: Any, longest: Any, scale: Any, window: Any) -> Any:
    import torch

    # transformers counts the token itself among the window, the kernel does not.
    left = -1 if not window else window - 1
    return torch.ops.aten._flash_attention_forward(  # noqa: SLF001  # the public varlen_attn wraps this, and its keywords changed between releases
        *qkv, bounds, bounds, longest, longest, 0.0, True, False,  # noqa: FBT003
        scale=scale, window_size_left=left, window_size_right=0,
    )[0]  # fmt: skip


def _one_by_one(qkv: Sequence[Any], bounds: Any, longest: Any, scale: Any, window: Any) -> Any:
    """Compute the same in plain torch, for the CPU and as a reference."""
    import torch

    del longest
    ends = bounds.tolist()
    parts: list[Any] = []
    for start, end in pairwise(ends):
        one = [tensor[start:end].transpose(0, 1).unsqueeze(0) for tensor in qkv]
        places = torch.arange(end - start, device=qkv[0].device)
        apart = places[:, None] - places[None, :]
        seen = (apart >= 0) & (apart < (window or end - start))
        out = torch.nn.functional.scaled_dot_product_attention(
            *one, attn_mask=seen, scale=scale, enable_gqa=qkv[0].shape[1] != qkv[1].shape[1]
        )
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)


def _misfit(config: Any, device: str) -> str:
    """Return why it cannot be used for a model of this configuration; empty where it can."""
    if getattr(config, "attn_logit_softcapping", None):
        return "the model caps its attention scores"
    if not device.startswith("cuda"):
        return "there is no GPU"
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    try:
        off = _difference(device, heads, kv_heads, width)
    except (RuntimeError, TypeError, AttributeError) as error:
        return f"torch's flash attention refuses it ({str(error).splitlines()[0][:120]})"
    return "" if off < _TOLERANCE else f"torch's flash attention is off by {off:.3f} here"


def _difference(device: str, heads: int, kv_heads: int, width: int) -> float:
    """Return the largest difference of output and gradients from plain attention on a small row."""
    import torch

    # A generator of its own: drawing must not shift what the run itself draws.
    dice = torch.Generator(device).manual_seed(1)
    bounds = torch.tensor([0, 50, 51, 128], dtype=torch.int32, device=device)

    def draw(count: int) -> Any:
        return torch.randn(128, count, width, generator=dice, device=device).bfloat16()

    given = [draw(heads), draw(kv_heads), draw(kv_heads)]
    upstream = draw(heads)
    found: list[list[Any]] = []
    for run, kind in ((_flash, torch.bfloat16), (_one_by_one, torch.float32)):
        leaves = [tensor.to(kind).requires_grad_() for tensor in given]
        out = run(leaves, bounds, 77, width**-0.5, 24)
        gradients = torch.autograd.grad(out, leaves, upstream.to(kind))
        found.append([out.detach(), *gradients])
    return max(
        float((a.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=1))
        for a, b in zip(*found, strict=True)
    )
