"""
TRL, `trl sft …`.

It runs accelerate's launcher in its own process with every flag that is not its own, those of its
configuration file first. A saved `accelerate config` would choose GPUs and port.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.launchers import flags
from berth.commands.launchers.known import (
    PORT_NOTE,
    KnownLauncher,
    Surroundings,
    product,
    program,
    ranks_note,
)
from berth.commands.words import Word, word
from berth.protocol.states import Launcher

_RANKS = ("--num_processes", "--gpu_ids")
_MEETING = (
    "--num_machines",
    "--machine_rank",
    "--main_process_ip",
    "--main_process_port",
    "--rdzv_backend",
)
_CONFIGURED = ("--accelerate_config", "--config_file")


def _files(call: Call) -> tuple[str, ...]:
    found = flags.find(call.parsed.arguments, "--config")
    return (found.value,) if found and found.literal else ()


def _serves(call: Call) -> bool:
    return call.program[-1].text.replace("_", "-") == "vllm-serve"


def _from_files(call: Call, around: Surroundings, key: str) -> tuple[str, str] | None:
    for name in _files(call):
        value = around.config(name).get(key)
        if value is not None:
            return str(value), f"{key}: {value} in {name}"
    return None


def _read(call: Call, around: Surroundings) -> FlagReading:
    words = call.parsed.arguments
    if _serves(call):
        sizes = [
            flags.count(words, f"--{part}_parallel_size") for part in ("tensor", "data", "pipeline")
        ]
        return FlagReading(request=product(*sizes))
    machines = flags.count(words, "--num_machines")
    if (machines.count or 1) > 1:
        raise CommandError(
            f"{machines.said} asks for several machines, but Berth runs on this box only; "
            "leave it out."
        )
    request = flags.count(words, "--num_processes")
    ids = flags.find(words, "--gpu_ids")
    if request.count is None and ids:
        request = gpu_request.index_list(ids.value, ids.said)
    if request.count is None and (found := _from_files(call, around, "num_processes")):
        request = gpu_request.count(*found)
    if request.count is None and (found := _from_files(call, around, "gpu_ids")):
        request = gpu_request.index_list(*found)
    return FlagReading(request=request)


def _rewrite(call: Call, leased: LeaseSlice, around: Surroundings) -> list[Word]:
    words = call.parsed.arguments
    if _serves(call) or flags.has(words, "--help", "-h"):
        return [*program(call, leased), *words]
    asked = _read(call, around).request
    number = len(leased.visible) or asked.count or 1
    kept, ranks = flags.without(words, _RANKS)
    kept, meeting = flags.without(kept, _MEETING, ("--same_network",))
    kept, several = flags.without(kept, (), ("--multi_gpu",))
    configured = flags.has(words, *_CONFIGURED) or _from_files(call, around, "accelerate_config")
    added = [f"--num_processes={number}", "--gpu_ids=all"]
    if ranks != [added[0]]:
        leased.note(" ".join(ranks), added[0], ranks_note(number, leased))
    port = [
        "--num_machines=1",
        "--machine_rank=0",
        "--main_process_ip=127.0.0.1",
        f"--main_process_port={leased.port or 0}",
        "--rdzv_backend=static",
    ]
    if meeting != port:
        leased.note(" ".join(meeting), port[3], PORT_NOTE)
    added += port
    if not configured:
        config = f"--config_file={leased.accelerate_config}"
        why = (
            "Without it an `accelerate config` saved earlier would choose GPUs, port and "
            "precision; to use yours, name it with --accelerate_config."
        )
        leased.note("", config, why)
        added.insert(0, config)
    if number > 1 and (several or not configured):
        if not several:
            leased.note("", "--multi_gpu", "Without it accelerate starts a single process.")
        added.append("--multi_gpu")
    return [*program(call, leased), *kept, *map(word, added)]


KNOWN = KnownLauncher(
    launcher=Launcher.TRL,
    name="trl",
    programs=frozenset({"trl"}),
    verbs=frozenset(
        {"sft", "dpo", "grpo", "kto", "reward", "rloo", "distillation", "vllm-serve"}
        | {"orpo", "cpo", "gkd", "ppo", "online_dpo"}
    ),
    modules=frozenset({"trl.cli", "trl.cli.main"}),
    settles="--num_processes=N",
    count="`--num_processes`, also in the file that `--config` names; `--gpu_ids`",
    port="`--main_process_port`, set to the leased one",
    ends="accelerate's ranks: TERM reaches all; exit code 1",
    read=_read,
    rewrite=_rewrite,
    files=_files,
)
