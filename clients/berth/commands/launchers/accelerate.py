"""
The accelerate launcher, `accelerate launch …`.

An old `accelerate config` in the user's home overrides CUDA_VISIBLE_DEVICES, port and
precision, so a configuration file is always named: the user's, else a neutral one.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.launchers.known import PORT_NOTE, KnownLauncher, Surroundings
from berth.commands.launchers.module_call import rewritten
from berth.commands.options import Options
from berth.commands.words import Word, word
from berth.protocol.states import Launcher

NEUTRAL_ACCELERATE_CONFIG = """\
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
machine_rank: 0
main_training_function: main
num_machines: 1
num_processes: 1
use_cpu: false
"""
"""A configuration that sets nothing. It names no precision on purpose: accelerate would
compare that with the precision of a DeepSpeed file."""

OPTIONS = Options(
    switches=frozenset(
        {
            "quiet",
            "cpu",
            "multi_gpu",
            "tpu",
            "ipex",
            "use_xpu",
            "use_mps_device",
            "enable_cpu_affinity",
            "dynamo_use_fullgraph",
            "dynamo_use_dynamic",
            "dynamo_use_regional_compilation",
            "use_deepspeed",
            "use_fsdp",
            "use_parallelism_config",
            "use_megatron_lm",
            "same_network",
            "module",
            "no_python",
            "tpu_cluster",
            "no_tpu_cluster",
            "tpu_use_sudo",
            "downcast_bf16",
            "fp8_use_autocast_during_eval",
            "debug",
            "help",
        }
    ),
    valued=frozenset(
        {
            "config_file",
            "num_processes",
            "num_machines",
            "gpu_ids",
            "machine_rank",
            "main_process_ip",
            "main_process_port",
            "rdzv_backend",
            "mpirun_hostfile",
            "deepspeed_config_file",
            "deepspeed_hostfile",
        }
    ),
    short={"m": "module", "q": "quiet", "t": "tee", "h": "help"},
    abbreviations=False,
    others_take_values=True,
)

_RENDEZVOUS_FLAGS = frozenset(
    {
        "num_machines",
        "machine_rank",
        "main_process_ip",
        "main_process_port",
        "rdzv_backend",
        "same_network",
    }
)
_OWN_WAYS = ("cpu", "use_deepspeed", "use_fsdp", "use_megatron_lm", "use_parallelism_config")


def read_flags(call: Call, around: Surroundings) -> FlagReading:
    """Read how many ranks the call asks for; refuse a call that needs other machines."""
    parsed = call.parsed
    _refuse(call, several_nodes=around.several_nodes)
    if parsed.has("help"):
        return FlagReading()
    if parsed.script is None:
        raise CommandError(
            "The accelerate command names no script; write it after the options, "
            "like accelerate launch --num_processes=4 train.py."
        )
    warnings: list[str] = []
    number, ids = parsed.last("num_processes"), parsed.last("gpu_ids")
    request = gpu_request.GpuRequest()
    if ids and ids.value:
        request = gpu_request.index_list(ids.value.text, ids.shown)
    if number and number.value:
        asked = gpu_request.count(number.value.text, number.shown)
        if asked.count is not None:
            if request.count is not None and request.count != asked.count:
                warnings.append(
                    f"{number.shown} and {request.said} disagree; Berth uses {number.shown}."
                )
            indices = request.indices if request.count == asked.count else None
            request = gpu_request.GpuRequest(asked.count, indices, asked.said)
    if request.count is None:
        request = from_config(call, around)
    if parsed.has("cpu") and (request.count or 0) > 1:
        warnings.append(
            "With --cpu accelerate starts a single process and ignores --num_processes; "
            "leave --cpu out to get one rank per GPU."
        )
    machines = parsed.last("num_machines")
    nodes = (
        int(machines.value.text[:9])
        if machines and machines.value and machines.value.text.isdecimal()
        else 1
    )
    return FlagReading(
        request=request, nodes=nodes if nodes > 1 else None, warnings=tuple(warnings)
    )


def config_files(call: Call) -> tuple[str, ...]:
    """The configuration file that the call names."""
    own = call.parsed.last("config_file")
    return (own.value.text,) if own and own.value and own.value.literal else ()


def from_config(call: Call, around: Surroundings) -> gpu_request.GpuRequest:
    """The number of ranks that the call's configuration file says."""
    for name in config_files(call):
        number = around.config(name).get("num_processes")
        if number is not None:
            return gpu_request.count(str(number), f"num_processes: {number} in {name}")
    return gpu_request.GpuRequest()


def _refuse(call: Call, *, several_nodes: bool) -> None:
    for name, most in () if several_nodes else (("num_machines", 1), ("machine_rank", 0)):
        flag = call.parsed.last(name)
        if flag and flag.value and flag.value.text.isdecimal() and int(flag.value.text[:9]) > most:
            raise CommandError(
                f"{flag.shown} asks for several machines, but Berth runs on this box only; "
                "leave it out."
            )
    for name in ("tpu", "tpu_cluster", "mpirun_hostfile", "deepspeed_hostfile"):
        flag = call.parsed.last(name)
        if flag:
            raise CommandError(f"{flag.shown} needs machines other than this box; leave it out.")


def rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    """Start one rank per leased GPU, with rendezvous on the leased port and a known configuration."""
    return rewritten(call, leased, "accelerate.commands.launch", own_flags)


def own_flags(call: Call, leased: LeaseSlice) -> list[Word]:
    """The launcher's flags for the lease, and those of the call that stay."""
    dropped = _RENDEZVOUS_FLAGS | {"num_processes", "gpu_ids", "config_file", "multi_gpu"}
    kept = [each for flag in call.flags if flag.name not in dropped for each in flag.words]
    config, ranks = _config(call, leased), _ranks(call, leased)
    # The last one counts, and what `$ARGS` holds must not be that; its own file is to count.
    return [*config, *kept, *ranks] if call.hides_options else [*config, *ranks, *kept]


def _ranks(call: Call, leased: LeaseSlice) -> list[Word]:
    parsed = call.parsed
    said = parsed.last("num_processes")
    asked = gpu_request.count(said.value.text, "").count if said and said.value else None
    gang = leased.gang
    number = len(leased.visible) * gang.nodes or asked or 1
    machines = f"--num_machines={gang.nodes}"
    out = [word(f"--num_processes={number}"), word(machines)]
    if asked != number:
        leased.note(
            said.shown if said else "",
            f"--num_processes={number}",
            f"One rank for each GPU that the job was given ({leased.gpu_names}).",
        )
    ids = parsed.last("gpu_ids")
    # Named even if it was not: a configuration file of the user's may name GPUs.
    out.append(word("--gpu_ids=all"))
    if ids:
        leased.note(
            ids.shown,
            "--gpu_ids=all",
            f"Every GPU that the job can see: it was given {leased.gpu_names}.",
        )
    port = leased.port or 0
    rendezvous = [
        f"--machine_rank={gang.rank}",
        f"--main_process_ip={gang.address}",
        f"--main_process_port={port}",
        "--rdzv_backend=static",
    ]
    written = [flag.shown for flag in call.flags if flag.name in _RENDEZVOUS_FLAGS]
    if written != [machines, *rendezvous]:
        leased.note(
            " ".join(written),
            f"--main_process_port={port}",
            PORT_NOTE,
        )
    return [*out, *map(word, rendezvous), *_several(call, leased, number)]


def _config(call: Call, leased: LeaseSlice) -> list[Word]:
    own = call.parsed.last("config_file")
    if own:
        return list(own.words)
    flag = f"--config_file={leased.accelerate_config}"
    leased.note(
        "",
        flag,
        "Without it an `accelerate config` saved earlier would choose GPUs, port and precision; "
        "to use yours, name it with --config_file.",
    )
    return [word(flag)]


def _several(call: Call, leased: LeaseSlice, number: int) -> list[Word]:
    """Say --multi_gpu when it is needed: without it accelerate starts one process."""
    parsed = call.parsed
    own = parsed.last("multi_gpu")
    decided = parsed.has(*_OWN_WAYS) or (parsed.has("config_file") and not own)
    if decided or number < 2:
        if own:
            leased.note(own.shown, "", f"The job was given {leased.gpu_names}.")
        return []
    if not own:
        leased.note("", "--multi_gpu", "Without it accelerate starts a single process.")
    return [word("--multi_gpu")]


KNOWN = KnownLauncher(
    launcher=Launcher.ACCELERATE,
    name="accelerate",
    options=OPTIONS,
    settles="--num_processes=N",
    count="`--num_processes`, `--gpu_ids`, `num_processes` of the file that `--config_file` names",
    port="`--main_process_port`, set to the leased one",
    ends="TERM reaches all ranks; exit code 1 for any failed rank",
    read=read_flags,
    rewrite=rewrite,
    files=config_files,
)
