"""
Units of ZeRO-3: the parameters of a layer gathered, and their gradients reduced, as one.

A unit belongs to DeepSpeed's partitioned parameters: it reads the partitions that DeepSpeed's
optimizer updates, and adds gradients to the buffers that its step reads. So checkpoints, resuming
and the step itself are DeepSpeed's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

Tensor = torch.Tensor
_TORCH: Any = torch  # with what its stubs leave out
_COLLECTIVES: Any = distributed  # torch 2.13 has new names for two that 2.11 knows by these


@dataclass(frozen=True, slots=True)
class Run:
    """Parameters whose partitions, or gradients, lie side by side: one copy or collective."""

    parameters: list[Any]
    sizes: list[int]
    flat: Tensor


class Streams:
    """Streams for gathering and reducing beside the computation; without a GPU all is in order."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        cuda = device.type == "cuda"
        self.gather = torch.cuda.Stream(device) if cuda else None
        self.reduce = torch.cuda.Stream(device) if cuda else None

    def beside(self, stream: Any) -> Any:
        """Return a context whose work begins after all that was computed so far."""
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(self.device))
        return torch.cuda.stream(stream)

    def wait(self, event: Any) -> None:
        """Let what is computed next begin after `event`."""
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)


class Unit:
    """
    Parameters that are gathered and released, and whose gradients are reduced, together.

    On one GPU that holds the partitions these are the parameters: nothing is copied or released,
    and autograd adds to the gradients' buffers itself.
    """

    def __init__(
        self,
        parameters: Sequence[Any],
        grads: Mapping[int, Tensor],
        streams: Streams,
        *,
        hosted: bool,
    ) -> None:
        """
        `grads`: the buffer of each trained parameter's gradient, by DeepSpeed's id. `hosted`: the
        optimizer works on the host and is told of each gradient.
        """
        self.streams = streams
        self.ranks = distributed.get_world_size() if distributed.is_initialized() else 1
        self.trained = [p for p in parameters if p.requires_grad and p.ds_id in grads]
        self.gathered = [p for p in parameters if self.ranks == 1 or not p.ds_persist]
        self.in_backward = False
        self._runs = runs(self.gathered, {p.ds_id: p.ds_tensor for p in self.gathered})
        self._buffers = runs(self.trained, grads)
        here = streams.device.type
        self.resident = self.ranks == 1 and all(one.flat.device.type == here for one in self._runs)
        self.in_place = (
            self.ranks == 1
            and not hosted
            and all(
                one.flat.device.type == here and one.flat.dtype == one.parameters[0].dtype
                for one in self._buffers
            )
        )
        self.trained_whole = len(self.trained) == len(parameters)
        """True where each parameter's gradient tells that it is not needed any more."""
        self._whole: dict[int, Tensor] = {}
        self._ahead = False
        self._event: Any = None
        self._held: list[Tensor] = []  # until the gathering that reads or writes it is done

    @property
    def available(self) -> bool:
        """Return whether the parameters are whole; DeepSpeed takes them away at each step."""
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        return not self.gathered or self.gathered[0].ds_status == ZeroParamStatus.AVAILABLE

    def gather(self) -> None:
        """Make the parameters whole for what is computed next."""
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        if self.available:
            return
        if self.resident:
            whole = {p.ds_id: s[: p.ds_numel].view(p.ds_shape) for p, s in _slices(self._runs)}
        else:
            self.prefetch()
            self.streams.wait(self._event)
            self._ahead, self._event, whole = False, None, self._whole
            self._held.clear()
        for parameter in self.gathered:
            parameter.data = whole[parameter.ds_id]
            parameter.ds_status = ZeroParamStatus.AVAILABLE

    def prefetch(self) -> None:
        """Begin to gather, beside what is computed now."""
        if self._ahead or self.resident or self.available:
            return
        wholes = [self._room(run) for run in self._runs]
        with self.streams.beside(self.streams.gather), torch.no_grad():
            for run, (out, whole) in zip(self._runs, wholes, strict=True):
                source = run.flat.to(self.streams.device, non_blocking=True)
                if self.ranks > 1:
                    _COLLECTIVES.all_gather_into_tensor(out, source)
                    parts = [tensor.view(self.ranks, -1) for tensor in whole]
                    torch.split_with_sizes_copy(out.view(self.ranks, -1), run.sizes, 1, out=parts)
                else:
                    torch.split_with_sizes_copy(source, run.sizes, out=whole)
                self._held += [source, out]
            if self.streams.gather is not None:
                self._event = self.streams.gather.record_event()
        self._ahead = True

    def release(self) -> None:
        """Give back the memory of the whole parameters."""
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        self.in_backward = False
        if self.resident:
            return
        if self._ahead:  # gathered for nothing
            self.streams.wait(self._event)
            self._ahead, self._event = False, None
            self._held.clear()
        if self.available:
            for parameter in self.gathered:
                parameter.data = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
                parameter.ds_status = ZeroParamStatus.NOT_AVAILABLE
        for whole in self._whole.values():
            whole.untyped_storage().resize_(0)

    def prepare_gradients(self) -> None:
        """Let autograd add to the buffers, where it can."""
        for parameter, buffer in _slices(self._buffers) if self.in_place else ():
            parameter.grad = buffer[: parameter.ds_numel].view(parameter.ds_shape)

    def zero_gradients(self) -> None:
        for run in self._buffers:
            run.flat.zero_()

    def take_gradients(self) -> list[Tensor]:
        """Take the gradients of a micro-batch from the parameters, laid out as `add` needs them."""
        flats: list[Tensor] = []
        for run in self._buffers:
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in run.parameters]
            flat = [grad.reshape(-1) for grad in grads]
            if self.ranks > 1:
                laid = _TORCH._chunk_cat(flat, 0, self.ranks).view(-1)  # noqa: SLF001  # FSDP's own; pads as DeepSpeed does
                flats.append(laid.div_(self.ranks))
            else:
                flats.append(torch.cat(flat))
        for parameter in self.trained:
            parameter.grad = None
        return flats

    def add(self, flats: Sequence[Tensor], *, first: bool) -> list[tuple[Any, Tensor]]:
        """
        Reduce the gradients among the ranks and add them to the buffers, on the current stream.

        `first`: of a step, so that they replace what is there. Returns each parameter's own part of
        the sum, on the device that computes.
        """
        parts: list[tuple[Any, Tensor]] = []
        for run, flat in zip(self._buffers, flats, strict=True):
            own = flat
            if self.ranks > 1:
                own = flat.new_empty(flat.numel() // self.ranks)
                _COLLECTIVES.reduce_scatter_tensor(own, flat)
            if run.flat.device == own.device:
                own = run.flat.copy_(own) if first else run.flat.add_(own)
            else:  # adding on the host would be slow
                if not first:
                    own = own.to(run.flat.dtype).add_(run.flat.to(own.device, non_blocking=True))
                run.flat.copy_(own, non_blocking=True)
            parts += zip(run.parameters, own.split(run.sizes), strict=True)
        return parts

    def _room(self, run: Run) -> tuple[Tensor, list[Tensor]]:
        """Return memory for what is gathered: of all ranks in a row, and of each parameter."""
        # From the stream that computes, which frees it: memory then passes between them in order.
        device = self.streams.device
        out = run.flat.new_empty(
            run.flat.numel() * self.ranks if self.ranks > 1 else 0, device=device
        )
        whole: list[Tensor] = []
        for parameter, size in zip(run.parameters, run.sizes, strict=True):
            count = size * self.ranks
            held = self._whole.get(parameter.ds_id)
            if held is None:
                held = torch.empty(count, dtype=parameter.dtype, device=device)
                self._whole[parameter.ds_id] = held[: parameter.ds_numel].view(parameter.ds_shape)
            else:
                # The same storage grows again: what autograd saved of it becomes valid again.
                held.untyped_storage().resize_(count * held.element_size())
                held = torch.empty(0, dtype=parameter.dtype, device=device).set_(
                    held.untyped_storage()
                )
            whole.append(held)
        return out, whole


def runs(parameters: Sequence[Any], places: Mapping[int, Tensor]) -> list[Run]:
    """
    Group the parameters by what lies side by side in `places`.

    In the order of the parameters, which is the same on all ranks; addresses are not.
    """
    found: list[Run] = []
    for parameter in parameters:
        place = places[parameter.ds_id].detach().reshape(-1)
        number = next((n for n, one in enumerate(found) if _follows(one.flat, place)), None)
        if number is None:
            found.append(Run([parameter], [place.numel()], place))
            continue
        before = found[number]
        flat = torch.as_strided(before.flat, (before.flat.numel() + place.numel(),), (1,))
        sizes = [*before.sizes, place.numel()]
        found[number] = Run([*before.parameters, parameter], sizes, flat)
    return found


def _follows(before: Tensor, after: Tensor) -> bool:
    return (
        before.dtype == after.dtype
        and before.untyped_storage().data_ptr() == after.untyped_storage().data_ptr()
        and before.storage_offset() + before.numel() == after.storage_offset()
    )


def _slices(found: Sequence[Run]) -> list[tuple[Any, Tensor]]:
    return [
        (parameter, part)
        for run in found
        for parameter, part in zip(run.parameters, run.flat.split(run.sizes), strict=True)
    ]
