"""
ZeRO-3 by whole layers: two hooks of our own in place of DeepSpeed's dozens.

DeepSpeed hooks every module, and reduces parameter by parameter; on a fast GPU its Python takes
longer than the arithmetic. Here a decoder layer is one unit, and so is the rest of the model:
the next layer is gathered while one computes, and the last one's gradients are reduced meanwhile.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from berth_trainer.config.settings import DeepSpeedSettings
from berth_trainer.model.activation_checkpointing import decoder_layers
from berth_trainer.model.zero3_units import Streams, Unit

_GRADIENTS = "_DeepSpeedZeroOptimizer_Stage3__param_id_to_grad_partition"
"""Name under which DeepSpeed's step reads a parameter's gradient."""


def by_layers(settings: DeepSpeedSettings) -> bool:
    return settings.stage == 3 and settings.gather == "layers"


def install(engine: Any) -> "Layers | None":
    """Let an engine of stage 3 go by whole layers; None for a model without known ones."""
    layers = decoder_layers(engine.module)
    if not layers:
        return None
    made = Layers(engine, layers)
    engine.berth_layers = made
    return made


def layers_of(engine: Any) -> "Layers | None":
    """Return what `install` made of the engine."""
    return getattr(engine, "berth_layers", None)


class Layers:
    """The units of a model under stage 3, driven by hooks at its layers."""

    def __init__(self, engine: Any, layers: Sequence[Any]) -> None:
        self._optimizer = engine.optimizer
        _remove_hooks(self._optimizer)
        grads: dict[int, Any] = getattr(self._optimizer, _GRADIENTS)
        streams = Streams(torch.device(engine.device))
        self._streams = streams
        inner = {id(p) for layer in layers for p in layer.parameters()}
        rest = [p for p in engine.module.parameters() if id(p) not in inner]
        hosted = self._optimizer.offload_optimizer
        self.units = [
            Unit(list(layer.parameters()), grads, streams, hosted=hosted) for layer in layers
        ]
        self.rest = Unit(rest, grads, streams, hosted=hosted)
        self._all = [self.rest, *self.units]
        self._persistent = [p for p in engine.module.parameters() if p.ds_persist and self.rest.ranks > 1]  # fmt: skip
        self._outstanding = [len(unit.trained) for unit in self._all]
        self._reducing: list[tuple[Any, list[Any]]] = []
        for place, layer in enumerate(layers):
            self._hook_layer(layer, place)
        engine.module.register_forward_pre_hook(self._begin)
        engine.module.register_forward_hook(self._end)
        for place, unit in enumerate(self._all):
            for parameter in () if unit.in_place else unit.trained:
                parameter.register_post_accumulate_grad_hook(partial(self._ready, place))
        self._wrap_epilogue()
        # DeepSpeed's own, in Python, keeps no gathered weight alive; a unit's storage comes back.
        library: Any = torch
        library.nn.functional.linear = library._C._nn.linear  # noqa: SLF001  # the original

    @property
    def resident(self) -> bool:
        """Return whether nothing has to be gathered: one GPU that holds the partitions."""
        return all(unit.resident for unit in self._all)

    def _hook_layer(self, layer: Any, place: int) -> None:
        unit = self.units[place]
        if unit.resident and unit.in_place:
            return
        last = place == len(self.units) - 1

        def before(*_: Any) -> None:
            unit.gather()
            if not unit.in_backward and not last:
                self.units[place + 1].prefetch()

        def after(_module: Any, _given: Any, output: Any) -> None:
            if unit.in_backward:
                return  # computed again, for the backward pass that follows
            tensor = output if torch.is_tensor(output) else output[0]
            if tensor.requires_grad:
                tensor.register_hook(partial(self._begin_backward, place))
                if last:
                    return  # its backward pass comes at once
            unit.release()

        layer.register_forward_pre_hook(before)
        layer.register_forward_hook(after)

    def _begin(self, *_: Any) -> None:
        """At the start of a forward pass."""
        training = torch.is_grad_enabled()
        if self._persistent:
            from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

            absent = [p for p in self._persistent if p.ds_status == ZeroParamStatus.NOT_AVAILABLE]
            if absent:
                absent[0].all_gather(absent)
        self.rest.gather()
        for unit in self._all:
            if unit.resident:
                unit.gather()
            if unit.in_place and training:
                if self._optimizer.micro_step_id == 0:
                    unit.zero_gradients()
                unit.prepare_gradients()

    def _end(self, *_: Any) -> None:
        if not torch.is_grad_enabled():
            self.rest.release()

    def _begin_backward(self, place: int, _gradient: Any) -> None:
        unit = self.units[place]
        unit.gather()
        unit.in_backward = True
        if place + 1 < len(self.units):
            later = self.units[place + 1]
            if not later.trained_whole:  # frozen weights say only now that they are done
                later.release()
        if place:
            self.units[place - 1].prefetch()

    def _ready(self, place: int, _parameter: Any) -> None:
        """Reduce a unit's gradients once autograd has made the last of them."""
        self._outstanding[place] -= 1
        if not self._outstanding[place]:
            self._reduce(place)

    def _reduce(self, place: int) -> None:
        unit = self._all[place]
        flats = unit.take_gradients()
        if unit.trained_whole and unit is not self.rest:
            unit.release()
        while self._reducing:  # it had the time of a whole layer
            self._forget_oldest()
        first = self._optimizer.micro_step_id == 0
        with self._streams.beside(self._streams.reduce), torch.no_grad():
            parts = unit.add(flats, first=first)
            self._offload(parts)
            stream = self._streams.reduce
            event = stream.record_event() if stream is not None else None
            self._reducing.append((event, [*flats, *parts]))
        self._outstanding[place] = 0

    def _offload(self, parts: Sequence[tuple[Any, Any]]) -> None:
        """Hand the step's gradients to an optimizer on the host, as DeepSpeed would."""
        optimizer = self._optimizer
        if not optimizer.offload_optimizer or not optimizer.is_gradient_accumulation_boundary():
            return
        for parameter, part in parts:
            optimizer._offload_boundary_param_ids.add(parameter.ds_id)  # noqa: SLF001  # whom the step looks for
            optimizer._offload_grad_partition_at_boundary(parameter, part, {}, {})  # noqa: SLF001

    def _forget_oldest(self) -> None:
        event, held = self._reducing.pop(0)
        self._streams.wait(event)
        held.clear()

    def _finish(self) -> None:
        """At the end of a backward pass: what no gradient came for, and what is still on its way."""
        for place, unit in enumerate(self._all):
            if unit.in_place:
                for parameter in unit.trained:
                    parameter.grad = None
            elif self._outstanding[place] > 0:
                self._reduce(place)
            self._outstanding[place] = len(unit.trained)
            unit.release()
        while self._reducing:
            self._forget_oldest()
        if self._streams.reduce is not None and self._optimizer.offload_optimizer:
            self._streams.reduce.synchronize()

    def _wrap_epilogue(self) -> None:
        epilogue = self._optimizer.independent_gradient_partition_epilogue

        def finish() -> None:
            self._finish()
            epilogue()

        self._optimizer.independent_gradient_partition_epilogue = finish


def _remove_hooks(optimizer: Any) -> None:
    """Remove DeepSpeed's hooks at modules and at gradients; its buckets are not needed either."""
    offload = optimizer.parameter_offload
    offload._remove_module_hooks()  # noqa: SLF001  # its `destroy` does only this
    offload.forward_hooks, offload.backward_hooks = [], []
    for hook in (*optimizer._grad_acc_hooks, *optimizer._leaf_module_hooks):  # noqa: SLF001
        hook.remove()
    for bucket in optimizer.ipg_buckets.values():
        bucket.buffer = None
