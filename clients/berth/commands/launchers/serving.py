"""
Servers of language models that start a process per GPU: `vllm serve`, `python -m sglang.launch_server`.

They need the product of their parallel sizes, take every port themselves and are left as they are.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers import flags
from berth.commands.launchers.known import (
    KnownLauncher,
    Surroundings,
    product,
    program,
    unchanged,
)
from berth.commands.words import Word
from berth.protocol.states import Launcher

_VLLM = (
    ("--tensor-parallel-size", "-tp"),
    ("--pipeline-parallel-size", "-pp"),
    ("--prefill-context-parallel-size", "-pcp"),
)
_VLLM_DATA = ("--data-parallel-size", "-dp")
_VLLM_DATA_HERE = ("--data-parallel-size-local", "-dpl")
_SGLANG = (
    ("--tp-size", "--tensor-parallel-size", "--tp"),
    ("--pp-size", "--pipeline-parallel-size", "--pp"),
)
_SGLANG_DATA = ("--dp-size", "--data-parallel-size", "--dp")
_BASE = "--base-gpu-id"


def _files(call: Call) -> tuple[str, ...]:
    found = flags.find(call.parsed.arguments, "--config")
    return (found.value,) if found and found.literal else ()


def _size(call: Call, around: Surroundings, names: tuple[str, ...]) -> GpuRequest:
    request = flags.count(call.parsed.arguments, *names)
    if request.count is not None:
        return request
    for file in _files(call):
        config = around.config(file)
        for name in names:
            key = name.lstrip("-")
            value = config.get(key, config.get(key.replace("-", "_")))
            if value is not None:
                return gpu_request.count(str(value), f"{key}: {value} in {file}")
    return GpuRequest()


def _read_vllm(call: Call, around: Surroundings) -> FlagReading:
    here = _size(call, around, _VLLM_DATA_HERE)
    replicas = here if here.count is not None else _size(call, around, _VLLM_DATA)
    return FlagReading(request=product(*(_size(call, around, one) for one in _VLLM), replicas))


def _read_sglang(call: Call, around: Surroundings) -> FlagReading:
    sizes = [_size(call, around, one) for one in _SGLANG]
    if not flags.has(call.parsed.arguments, "--enable-dp-attention"):
        sizes.append(_size(call, around, _SGLANG_DATA))
    return FlagReading(request=product(*sizes))


def _rewrite_sglang(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    kept, taken = flags.without(call.parsed.arguments, (_BASE,))
    leased.note(" ".join(taken), "", f"The job was given {leased.gpu_names}.")
    return [*program(call, leased), *kept]


VLLM = KnownLauncher(
    launcher=Launcher.VLLM,
    name="vllm",
    programs=frozenset({"vllm"}),
    verbs=frozenset({"serve", "bench"}),
    modules=frozenset({"vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server"}),
    settles="--tensor-parallel-size=N",
    starts="starts a process per GPU",
    count="`--tensor-parallel-size` times `--pipeline-parallel-size` times "
    "`--data-parallel-size`, also in the file that `--config` names",
    port="`--port` is its service's; it finds the others itself",
    ends="by itself on TERM",
    read=_read_vllm,
    rewrite=unchanged,
    alone=lambda _call: True,
    files=_files,
)
SGLANG = KnownLauncher(
    launcher=Launcher.SGLANG,
    name="sglang",
    programs=frozenset({"sglang"}),
    verbs=frozenset({"serve"}),
    modules=frozenset({"sglang.launch_server"}),
    settles="--tp-size=N",
    starts="starts a process per GPU",
    count="`--tp-size` times `--pp-size` times `--dp-size`, which counts only without "
    "`--enable-dp-attention`; `--attn-dp-size` divides the first",
    port="`--port` is its service's; it finds the others itself",
    ends="by itself on TERM",
    read=_read_sglang,
    rewrite=_rewrite_sglang,
    alone=lambda _call: True,
    files=_files,
)
