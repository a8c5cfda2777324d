"""
Adam with its states on the host, updated by the GPU piece by piece.

A CPU's Adam is bound by its memory: 28 bytes a parameter at 55 GB/s on 16 cores. Here master
weights, moments and gradients pass through the GPU, 16 bytes in and 12 out at the speed of the bus,
both ways at once; nothing has to be compiled, and each number is that of the optimizer on the GPU.
"""

from collections.abc import Iterator
from typing import Any

import torch

PIECE = 1 << 25
"""Parameters updated at a time: half a GiB on the GPU, of which three are in use."""
_SLOTS = 3
_TORCH: Any = torch  # with what its stubs leave out


def install(optimizer: Any, device: torch.device) -> bool:
    """
    Let DeepSpeed's optimizer of stage 3 update on `device`. False where it is not torch's AdamW.

    Its states stay where DeepSpeed keeps and saves them.
    """
    masters = getattr(optimizer, "fp32_partitioned_groups_flat", None)
    able = bool(masters) and all(one.dtype == torch.float32 for one in masters)
    plain = type(getattr(optimizer, "optimizer", None)) is torch.optim.AdamW
    if not (able and plain and optimizer.offload_optimizer):
        return False
    HostedAdam(optimizer, device)
    return True


def is_installed(optimizer: Any) -> bool:
    return hasattr(optimizer, "berth_hosted")


class HostedAdam:
    """Takes the places of DeepSpeed's clipping, update and copy of a sub-group."""

    def __init__(self, optimizer: Any, device: torch.device) -> None:
        self._optimizer, self._device = optimizer, device
        self._scale: Any = 1.0
        cuda = device.type == "cuda"
        self._in = torch.cuda.Stream(device) if cuda else None
        self._out = torch.cuda.Stream(device) if cuda else None
        self._pinned: set[int] = set()
        optimizer.unscale_and_clip_grads = self._clip
        optimizer._optimizer_step = self._step  # noqa: SLF001  # what its step calls, by sub-group
        optimizer._reassign_or_swap_out_partitioned_parameters = self._reassign  # noqa: SLF001
        optimizer.berth_hosted = self

    def _clip(self, _group: int, total_norm: Any) -> None:
        """Keep the factor; the gradients are multiplied with it on the GPU."""
        optimizer = self._optimizer
        scale = torch.as_tensor(float(optimizer.loss_scale))
        if optimizer.clip_grad > 0.0:
            norm = torch.as_tensor(total_norm, dtype=torch.float32)
            scale = scale * torch.clamp((norm / scale + 1e-6) / optimizer.clip_grad, min=1.0)
        self._scale = (1.0 / scale).to(self._device)

    def _step(self, group: int) -> None:
        optimizer, library = self._optimizer, _TORCH
        master = optimizer.fp32_partitioned_groups_flat[group]
        options = optimizer.optimizer.param_groups[optimizer.sub_group_to_group_id[group]]
        state = optimizer.optimizer.state[master]
        if "exp_avg" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in ("exp_avg", "exp_avg_sq"):  # filled by all cores, which pinning then finds
                state[name] = torch.empty_like(master.data).fill_(0)
        held = [master.data, state["exp_avg"], state["exp_avg_sq"]]
        for tensor in (*held, master.grad):
            self._pin(tensor)
        step = torch.full((), float(state["step"]) + 1, device=self._device)
        low = optimizer.fp16_partitioned_groups_flat[group]
        slots: list[Any] = [None] * _SLOTS
        for number, (start, end) in enumerate(_pieces(master.numel())):
            if slots[number % _SLOTS] is not None:
                slots[number % _SLOTS].synchronize()
            here = self._fetch([*held, master.grad], start, end)
            here[3].mul_(self._scale)
            library._fused_adamw_(  # what torch's fused AdamW calls
                [here[0]], [here[3]], [here[1]], [here[2]], [], [step.clone()],
                lr=float(options["lr"]), beta1=options["betas"][0], beta2=options["betas"][1],
                weight_decay=options["weight_decay"], eps=options["eps"], amsgrad=False,
                maximize=False,
            )  # fmt: skip
            low[start:end].copy_(here[0], non_blocking=True)
            slots[number % _SLOTS] = self._give_back(held, here, start, end)
        state["step"] = torch.full((), float(step), dtype=torch.float32)
        if self._out is not None:
            self._out.synchronize()
            torch.cuda.current_stream(self._device).synchronize()

    def _fetch(self, tensors: list[Any], start: int, end: int) -> list[Any]:
        """Copy a piece of each tensor to the GPU, beside the update of the piece before."""
        if self._in is None:
            return [tensor[start:end].to(self._device).clone() for tensor in tensors]
        here = [torch.empty(end - start, device=self._device) for _ in tensors]
        self._in.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._in):
            for place, tensor in zip(here, tensors, strict=True):
                place.copy_(tensor[start:end], non_blocking=True)
        torch.cuda.current_stream(self._device).wait_stream(self._in)
        return here

    def _give_back(self, held: list[Any], here: list[Any], start: int, end: int) -> Any:
        """Copy a piece back to the host, beside the update of the next; return the event."""
        if self._out is None:
            for tensor, place in zip(held, here, strict=False):
                tensor[start:end].copy_(place)
            return None
        self._out.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._out):
            for tensor, place in zip(held, here, strict=False):
                tensor[start:end].copy_(place, non_blocking=True)
                place.record_stream(self._out)
        return self._out.record_event()

    def _reassign(self, group: int) -> None:
        """The weights are there already; let the partitions point to them."""
        self._optimizer._unflatten_partitioned_parameters(group)  # noqa: SLF001

    def _pin(self, tensor: Any) -> None:
        """Pin what DeepSpeed, or a checkpoint that was loaded, has made pageable."""
        address = tensor.data_ptr()
        wanted = self._in is not None and self._optimizer.offload_optimizer_pin_memory
        if not wanted or address in self._pinned or tensor.is_pinned():
            return
        size = tensor.numel() * tensor.element_size()
        _TORCH.cuda.cudart().cudaHostRegister(address, size, 0)
        self._pinned.add(address)


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, PIECE):
        yield start, min(count, start + PIECE)
