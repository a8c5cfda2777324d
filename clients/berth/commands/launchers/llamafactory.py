"""
LLaMA-Factory, `llamafactory-cli train x.yaml`.

It starts torchrun when it sees more than one GPU, or with FORCE_TORCHRUN=1, and takes number and
port from NPROC_PER_NODE and MASTER_PORT; otherwise it trains in its own process. With USE_RAY=1
it starts the workers that its file asks for, and torchrun only where FORCE_TORCHRUN is set too.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers.known import KnownLauncher, Surroundings, unchanged
from berth.commands.words import Word
from berth.protocol.states import Launcher


def ranks_variable(around: Surroundings) -> GpuRequest:
    """Read NPROC_PER_NODE; refuse NNODES above 1."""
    nodes = around.variables.get("NNODES", "1")
    if nodes.isdecimal() and int(nodes[:9]) > 1:
        raise CommandError(
            f"NNODES={nodes} asks for several machines, but Berth runs on this box only; leave it out."
        )
    value = around.variables.get("NPROC_PER_NODE")
    return GpuRequest() if value is None else gpu_request.count(value, f"NPROC_PER_NODE={value}")


def _with_ray(around: Surroundings) -> bool:
    """True if it hands its training to Ray, or to one process with its own offload."""
    return any(
        around.variables.get(name, "").lower() in {"1", "true", "y"}
        for name in ("USE_RAY", "USE_KT")
    )


def _files(call: Call) -> tuple[str, ...]:
    first = call.parsed.arguments[:1]
    named = first and first[0].literal and first[0].text.endswith((".yaml", ".yml", ".json"))
    return (first[0].text,) if named else ()


def _workers(call: Call, around: Surroundings) -> GpuRequest:
    """The Ray workers that its file asks for, one for each GPU."""
    for name in _files(call):
        number = around.config(name).get("ray_num_workers")
        if number is not None:
            return gpu_request.count(str(number), f"ray_num_workers: {number} in {name}")
    return GpuRequest()


def _read(call: Call, around: Surroundings) -> FlagReading:
    if _with_ray(around):
        return FlagReading(request=_workers(call, around))
    torn = [each.raw for each in call.parsed.arguments if " " in each.text]
    warnings = [
        f"llamafactory-cli splits {each} at its spaces when it starts several ranks; "
        "write it into the configuration file."
        for each in torn
    ]
    return FlagReading(request=ranks_variable(around), warnings=tuple(warnings))


def _rewrite(call: Call, leased: LeaseSlice, around: Surroundings) -> list[Word]:
    if _with_ray(around):
        return unchanged(call, leased, around)
    asked = ranks_variable(around).count
    number = len(leased.visible) or asked or 1
    leased.set("NPROC_PER_NODE", str(number), around.variables, ranks=True)
    if number > 1:
        why = "llamafactory-cli starts ranks only where it sees several GPUs, or with this."
        leased.set("FORCE_TORCHRUN", "1", around.variables, why=why)
    for name, value in (("NNODES", "1"), ("NODE_RANK", "0")):
        if name in around.variables:
            leased.set(name, value, around.variables, why="Berth runs on this box only.")
    return unchanged(call, leased, around)


KNOWN = KnownLauncher(
    launcher=Launcher.LLAMAFACTORY,
    name="llamafactory-cli",
    programs=frozenset({"llamafactory-cli", "lmf"}),
    verbs=frozenset({"train"}),
    modules=frozenset({"llamafactory.cli"}),
    settles="NPROC_PER_NODE=N before it",
    count="NPROC_PER_NODE; without it one rank for each GPU it sees, in its own process for one; "
    "with USE_RAY `ray_num_workers` of its file",
    port="MASTER_PORT, else one it finds free",
    ends="torchrun's ranks; exit code 1 for any failed rank",
    read=_read,
    rewrite=_rewrite,
    files=_files,
)
