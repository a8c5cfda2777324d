"""
Sizes of parallel parts that scripts under torchrun name: nanotron's file, Megatron's flags.

Their launcher is torchrun, which starts as many ranks as it is given; the scripts then stop when the
number is not the product of their sizes (nanotron) or no multiple of it (Megatron).
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from typing import cast

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers import flags
from berth.commands.launchers.known import Surroundings, product

_MEGATRON = (
    "--tensor-model-parallel-size",
    "--pipeline-model-parallel-size",
    "--context-parallel-size",
)
_NANOTRON = "run_train.py"
_PARTS = ("dp", "pp", "tp", "context_parallel_size")


def config_files(call: Call) -> tuple[str, ...]:
    """The file in which a nanotron run names its sizes."""
    script = call.parsed.script
    if script is None or os.path.basename(script.text) != _NANOTRON:  # noqa: PTH119 - text
        return ()
    found = flags.find(call.parsed.arguments, "--config-file")
    return (found.value,) if found and found.literal else ()


def checked(call: Call, said: GpuRequest, around: Surroundings) -> FlagReading:
    """The number of ranks by the launcher's flag, else by the sizes; a warning where they differ."""
    exact = _nanotron(call, around)
    least = product(*(flags.count(call.parsed.arguments, name) for name in _MEGATRON))
    sizes = exact if exact.count is not None else least
    if sizes.count is None:
        return FlagReading(request=said)
    if said.count is None:
        return FlagReading(request=sizes)
    fits = said.count == exact.count if exact.count else said.count % (least.count or 1) == 0
    if fits:
        return FlagReading(request=said)
    rule = "needs" if exact.count else "needs a multiple of"
    sentence = (
        f"{said.said} starts {said.count} ranks, but {sizes.said} {rule} {sizes.count}: "
        "the run will stop at its start."
    )
    return FlagReading(request=said, warnings=(sentence,))


def _nanotron(call: Call, around: Surroundings) -> GpuRequest:
    for name in config_files(call):
        found = around.config(name).get("parallelism")
        if isinstance(found, Mapping):
            parts = cast("Mapping[str, object]", found)
            given = [
                gpu_request.count(str(parts[part]), f"{part}: {parts[part]}")
                for part in _PARTS
                if part in parts
            ]
            sizes = product(*given)
            return GpuRequest(sizes.count, None, f"{sizes.said} in {name}")
    return GpuRequest()
