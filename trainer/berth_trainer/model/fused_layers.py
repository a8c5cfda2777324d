"""
Fused norms and gated blocks, which keep fewer activations and read less memory.

A stock norm computes in fp32 through six kernels and keeps three copies of its input for the
backward pass; here it keeps the input alone and computes the rest again. That halves what a layer
keeps, so that fewer layers need recomputing, and compiled each is one kernel. Values are those of
the stock layers. Nothing is compiled around a module: DeepSpeed's hooks stay where they are.
"""

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch

# Which of the two ways of scaling a class uses: Gemma multiplies by 1 + weight in fp32.
_GEMMA = frozenset({"GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm"})
_PLAIN = frozenset({"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"})
_GATED = frozenset({
    "GemmaMLP", "Gemma2MLP", "Gemma3MLP", "LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP",
})  # fmt: skip


def install(model: Any, *, compiled: bool) -> int:
    """
    Give the known norms and gated blocks of `model` the fused forward. Returns how many.

    `compiled` makes one kernel of each with torch.compile. Without gradients (evaluation,
    generation) the stock forward runs.
    """
    kernels = _Kernels(compiled=compiled)
    changed = 0
    for module in model.modules():
        name = type(module).__name__
        forward: Callable[..., Any] | None = None
        if name in _GEMMA | _PLAIN:
            forward = _norm_forward(kernels, gemma=name in _GEMMA, eps=_eps(module))
        elif name in _GATED and (kind := _activation(module)):
            forward = _gated_forward(kernels, kind)
        if forward is not None:
            module.stock_forward = module.forward
            module.forward = MethodType(forward, module)
            changed += 1
    model.berth_fused = changed
    return changed


def count_of(model: Any) -> int:
    """Return the number of modules that `install` changed."""
    return int(getattr(model, "berth_fused", 0))


def compiler_trouble(device: str) -> str:
    """Return why torch.compile fails on this GPU; empty where a small norm compiles and runs."""
    try:
        kernels = _Kernels(compiled=True)
        x = torch.ones(4, 64, device=device, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.zeros(64, device=device, dtype=torch.bfloat16, requires_grad=True)
        _Norm.apply(x, weight, 1e-6, True, kernels).sum().backward()  # noqa: FBT003  # autograd functions take no keywords
    except Exception as error:  # noqa: BLE001  # a missing compiler shows as almost anything
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    return ""


class _Kernels:
    """The four computations, compiled or eager."""

    def __init__(self, *, compiled: bool) -> None:
        # One kernel for each shape: packed rows have one, and a width known beforehand counts.
        wrap: Any = partial(torch.compile, dynamic=False) if compiled else _as_it_is
        self.norm = wrap(_norm)
        self.norm_backward = wrap(_norm_backward)
        self.gate = wrap(_gate)
        self.gate_backward = wrap(_gate_backward)


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, eps: float, gemma: bool, kernels: _Kernels) -> Any:  # noqa: FBT001  # autograd functions take no keywords
        ctx.save_for_backward(x, weight)
        ctx.rest = (eps, gemma, kernels)
        return kernels.norm(x, weight, eps, gemma)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        x, weight = ctx.saved_tensors
        eps, gemma, kernels = ctx.rest
        dx, dw = kernels.norm_backward(upstream[0], x, weight, eps, gemma)
        return dx, dw if ctx.needs_input_grad[1] else None, None, None, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any, kind: str, kernels: _Kernels) -> Any:
        ctx.save_for_backward(gate, up)
        ctx.rest = (kind, kernels)
        return kernels.gate(gate, up, kind)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        kind, kernels = ctx.rest
        dgate, dup = kernels.gate_backward(upstream[0], *ctx.saved_tensors, kind)
        return dgate, dup, None, None


def _norm(x: Any, weight: Any, eps: float, gemma: bool) -> Any:  # noqa: FBT001
    wide = x.float()
    unit = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    if gemma:
        return (unit * (1.0 + weight.float())).to(x.dtype)
    return weight * unit.to(x.dtype)


def _norm_backward(upstream: Any, x: Any, weight: Any, eps: float, gemma: bool) -> tuple[Any, Any]:  # noqa: FBT001
    wide, above = x.float(), upstream.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    unit = wide * scale
    factor = 1.0 + weight.float() if gemma else weight.float()
    seen = unit if gemma else unit.to(x.dtype).float()  # what the weight was multiplied with
    inner = above * factor
    dx = scale * (inner - unit * (inner * unit).mean(-1, keepdim=True))
    dw = (above * seen).flatten(0, -2).sum(0)
    return dx.to(x.dtype), dw.to(weight.dtype)


def _gate(gate: Any, up: Any, kind: str) -> Any:
    return _activate(gate, kind) * up


def _gate_backward(upstream: Any, gate: Any, up: Any, kind: str) -> tuple[Any, Any]:
    above = upstream * up
    if kind == "silu":
        dgate = torch.ops.aten.silu_backward(above, gate)
    else:
        dgate = torch.ops.aten.gelu_backward(above, gate, approximate="tanh")
    return dgate, upstream * _activate(gate, kind)


def _activate(gate: Any, kind: str) -> Any:
    if kind == "silu":
        return torch.nn.functional.silu(gate)
    return torch.nn.functional.gelu(gate, approximate="tanh")


def _norm_forward(kernels: _Kernels, *, gemma: bool, eps: float) -> Callable[..., Any]:
    def forward(self: Any, x: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.stock_forward(x)
        return _Norm.apply(x, self.weight, eps, gemma, kernels)

    return forward


def _gated_forward(kernels: _Kernels, kind: str) -> Callable[..., Any]:
    def forward(self: Any, x: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.stock_forward(x)
        return self.down_proj(_Gate.apply(self.gate_proj(x), self.up_proj(x), kind, kernels))

    return forward


def _eps(module: Any) -> float:
    return float(getattr(module, "eps", None) or module.variance_epsilon)


def _activation(module: Any) -> str:
    """Return `silu` or `gelu`; empty for an activation whose derivative is not implemented here."""
    name = type(module.act_fn).__name__
    return {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu"}.get(name, "")
