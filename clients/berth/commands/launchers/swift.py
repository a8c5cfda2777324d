"""
ms-swift, `swift sft …`.

It starts torchrun where NPROC_PER_NODE is set, in the environment or under `ENV:` of the
configuration file that is its first argument; the environment wins. Otherwise one process uses
all GPUs that it sees; `swift deploy`, `rollout` and the like are always one, with an engine that
takes as many GPUs as its sizes say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.launchers import flags
from berth.commands.launchers.known import KnownLauncher, Surroundings, product, unchanged
from berth.commands.launchers.llamafactory import ranks_variable
from berth.commands.words import Word
from berth.protocol.states import Launcher

_SERVING = frozenset({"rollout", "deploy", "eval", "sample", "app", "export"})
_ENGINES = (
    ("vllm_tensor_parallel_size", "vllm_pipeline_parallel_size", "vllm_data_parallel_size"),
    ("sglang_tp_size", "sglang_pp_size", "sglang_dp_size"),
    ("lmdeploy_tp",),
)


def _one_process(call: Call) -> bool:
    """True for the verbs that start no ranks: an inference engine takes the GPUs."""
    program, verb = call.program[-2:]
    return verb.text in _SERVING and program.text.rpartition("/")[2] != "megatron"


def _files(call: Call) -> tuple[str, ...]:
    first = call.parsed.arguments[:1]
    named = first and first[0].literal and first[0].text.endswith((".yaml", ".yml", ".json"))
    return (first[0].text,) if named else ()


def _with_file(call: Call, around: Surroundings) -> Surroundings:
    variables: dict[str, str] = {}
    for name in _files(call):
        found = around.config(name).get("ENV")
        if isinstance(found, Mapping):
            settings = cast("Mapping[object, object]", found)
            variables = {str(key): str(value) for key, value in settings.items()}
    return replace(around, variables={**variables, **around.variables})


def _read(call: Call, around: Surroundings) -> FlagReading:
    if _one_process(call):
        words = call.parsed.arguments
        sizes = [product(*(flags.count(words, f"--{name}") for name in one)) for one in _ENGINES]
        return FlagReading(request=product(*sizes))
    return FlagReading(request=ranks_variable(_with_file(call, around)))


def _rewrite(call: Call, leased: LeaseSlice, around: Surroundings) -> list[Word]:
    known = {} if _one_process(call) else _with_file(call, around).variables
    if "NPROC_PER_NODE" in known or "NNODES" in known:
        asked = ranks_variable(replace(around, variables=known)).count
        number = len(leased.visible) or asked or 1
        leased.set("NPROC_PER_NODE", str(number), known, ranks=True)
        leased.set("NNODES", "1", known, why="Berth runs on this box only.")
        leased.set("NODE_RANK", "0", known, why="Berth runs on this box only.")
    return unchanged(call, leased, around)


KNOWN = KnownLauncher(
    launcher=Launcher.SWIFT,
    name="swift",
    programs=frozenset({"swift", "megatron"}),
    verbs=frozenset({"sft", "pt", "rlhf", "infer"}) | _SERVING,
    modules=frozenset({"swift.cli.main"}),
    settles="NPROC_PER_NODE=N before it",
    starts="starts NPROC_PER_NODE ranks, or one process for all its GPUs",
    count="NPROC_PER_NODE, also under `ENV:` of its configuration file; without it one process",
    port="MASTER_PORT",
    ends="torchrun's ranks, below a parent that does not forward TERM; Berth ends all of them; "
    "exit code is torchrun's",
    read=_read,
    rewrite=_rewrite,
    files=_files,
    alone=_one_process,
)
