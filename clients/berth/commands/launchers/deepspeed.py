"""
The DeepSpeed launcher, `deepspeed …`, started through its own `deepspeed.launcher.launch`.

The `deepspeed` command deletes CUDA_VISIBLE_DEVICES and counts GPUs from 0, ignores
MASTER_PORT, leaves its ranks alive on TERM and exits 0 when its middle process is killed
(measured with 0.19.8). The middle process takes GPUs and port as arguments.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.launchers.known import KnownLauncher, Surroundings, over_nodes
from berth.commands.options import Flag, Options
from berth.commands.words import Word, path_word, word
from berth.protocol.states import Launcher

_SWITCHES = frozenset(
    {
        "module",
        "no_python",
        "no_local_rank",
        "no_ssh",
        "no_ssh_check",
        "force_multi",
        "bind_cores_to_rank",
        "quiet",
        "help",
        "elastic_training",
        "enable_elastic_training",
    }
)
_VALUED = frozenset(
    {
        "hostfile",
        "include",
        "exclude",
        "num_nodes",
        "num_gpus",
        "num_accelerators",
        "master_port",
        "master_addr",
        "node_rank",
        "launcher",
        "launcher_args",
        "enable_each_rank_log",
        "autotuning",
        "bind_core_list",
        "ssh_port",
        "venv_script",
        "log_level",
        "min_elastic_nodes",
        "max_elastic_nodes",
        "world_info",
    }
)
_SHORT = {"H": "hostfile", "i": "include", "e": "exclude", "q": "quiet", "h": "help"}
OPTIONS = Options(_SWITCHES | {"save_pid"}, _VALUED, _SHORT)
LAUNCH_OPTIONS = Options(_SWITCHES, _VALUED | {"save_pid"}, _SHORT)

# People write --hostfile=/dev/null to keep the box's /job/hostfile out.
_NO_HOSTS = "/dev/null"
_GPU_FLAGS = frozenset(
    {"num_gpus", "num_accelerators", "include", "exclude", "num_nodes", "world_info"}
)
_NETWORK_FLAGS = frozenset(
    {
        "hostfile",
        "master_addr",
        "node_rank",
        "no_ssh",
        "no_ssh_check",
        "ssh_port",
        "launcher_args",
        "save_pid",
    }
)
_BOX_ONLY = "Berth runs on this box only"


def read_flags(call: Call, around: Surroundings) -> FlagReading:
    """Read how many GPUs the call asks for; refuse a call that needs other machines."""
    parsed = call.parsed
    _refuse(call, several_nodes=around.several_nodes)
    machines = parsed.last("num_nodes")
    if machines and machines.value and machines.value.text.isdecimal():
        nodes = int(machines.value.text[:9])
        return over_nodes(_count(call), nodes) if nodes > 1 else _count(call)
    return _count(call)


def _count(call: Call) -> FlagReading:
    parsed = call.parsed
    if parsed.has("help"):
        return FlagReading()
    if parsed.script is None:
        raise CommandError(
            "The deepspeed command names no script; write it after the options, "
            "like deepspeed --num_gpus=4 train.py."
        )
    include, exclude = parsed.last("include"), parsed.last("exclude")
    number = parsed.last("num_gpus", "num_accelerators")
    packed = parsed.last("world_info")
    if include and include.value:
        if include.value.literal:
            return FlagReading(request=gpu_request.inclusion(include.value.text, include.shown))
        return FlagReading(request=gpu_request.GpuRequest(said=include.shown))
    if number and number.value:
        return FlagReading(request=gpu_request.count(number.value.text, number.shown))
    if packed and packed.value:
        return FlagReading(request=gpu_request.world_info(packed.value.text, "--world_info"))
    if exclude:
        said = f"{exclude.shown} excludes GPUs but does not say how many to use"
        return FlagReading(warnings=(f"{said}; set `gpus` on the job.",))
    return FlagReading()


def _refuse(call: Call, *, several_nodes: bool) -> None:
    parsed = call.parsed
    for name, fix in (
        ("hostfile", "leave the hostfile out"),
        ("launcher", "leave --launcher out"),
        ("force_multi", "leave --force_multi out"),
        ("elastic_training", "leave --elastic_training out"),
        ("enable_elastic_training", "leave --enable_elastic_training out"),
        ("venv_script", "name the environment as the job's python instead"),
    ):
        flag = parsed.last(name)
        if flag and not (flag.value and flag.value.text == _NO_HOSTS):
            raise CommandError(
                f"{flag.shown} is for runs over several machines, but {_BOX_ONLY}; {fix}."
            )
    for name, most in () if several_nodes else (("num_nodes", 1), ("node_rank", 0)):
        flag = parsed.last(name)
        if flag and flag.value and flag.value.text.isdecimal() and int(flag.value.text[:9]) > most:
            raise CommandError(
                f"{flag.shown} asks for several machines, but {_BOX_ONLY}; leave it out."
            )
    tuning = parsed.last("autotuning")
    if tuning:
        raise CommandError(
            f"{tuning.shown} makes deepspeed start runs of its own on GPUs that it chooses; "
            "leave it out, and let `berth plan` choose batch and offload."
        )


def rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    """Start the middle process with the leased GPUs and port."""
    if call.parsed.has("help"):
        return _start(call, leased, "deepspeed.launcher.runner") + _kept(call)
    if not leased.visible:
        raise CommandError(
            "deepspeed starts one rank per GPU and this job has none; submit it with gpus 1 or more."
        )
    if leased.port is None:
        raise CommandError("The attempt was given no rendezvous port; retry the job.")
    if call.hides_options:
        # What hides in the variable may be --num_gpus, which the middle process refuses.
        said = [each for flag in call.flags for each in flag.words]
        return [*call.program, *said, word(f"--master_port={leased.port}"), *_script(call)]
    out = _start(call, leased, "deepspeed.launcher.launch")
    gang = leased.gang
    out.append(word(f"--world_info={gpu_request.encode_world_info(leased.visible, gang.nodes)}"))
    if gang.nodes > 1:
        out.append(word(f"--node_rank={gang.rank}"))
    out.append(word(f"--master_addr={gang.address}"))
    out.append(word(f"--master_port={leased.port}"))
    out.extend(_kept(call))
    _note_gpus(call, leased)
    return out + _script(call)


def _start(call: Call, leased: LeaseSlice, module: str) -> list[Word]:
    python = call.interpreter or leased.python
    options = [option for option in call.interpreter_options if option.text != "-u"]
    if call.module != module:
        leased.note(
            " ".join(part.raw for part in call.program),
            f"{python} -u -m {module}",
            "The deepspeed command ignores CUDA_VISIBLE_DEVICES and counts GPUs from 0, leaves "
            "its ranks running when it is stopped, and reports success when its middle process "
            "is killed; the middle process itself, started directly, does none of this.",
        )
    return [path_word(python), *options, word("-u"), word("-m"), word(module)]


def _kept(call: Call) -> list[Word]:
    kept: list[Word] = []
    for flag in call.flags:
        if flag.name not in _GPU_FLAGS | _NETWORK_FLAGS | {"master_port"}:
            kept.extend(_spelled_out(flag))
    return kept


def _spelled_out(flag: Flag) -> list[Word]:
    """Write an abbreviated option in full: another parser may know other options."""
    first = flag.words[0]
    written, equals, value = first.text.partition("=")
    if flag.known and written.startswith("--") and written[2:] != flag.name and first.literal:
        return [word(f"--{flag.name}{equals}{value}"), *flag.words[1:]]
    return list(flag.words)


def _script(call: Call) -> list[Word]:
    script = call.parsed.script
    return [*([script] if script else []), *call.parsed.arguments]


def _note_gpus(call: Call, leased: LeaseSlice) -> None:
    exact = f"--world_info={gpu_request.encode_world_info(leased.visible, leased.gang.nodes)}"
    said = [flag for flag in call.flags if flag.name in _GPU_FLAGS]
    if [flag.shown for flag in said] != [exact]:
        leased.note(
            " ".join(flag.shown for flag in said),
            f"--world_info=…  ({leased.gpu_names})",
            f"The job was given {leased.gpu_names}, one rank on each.",
        )
    port = call.parsed.last("master_port")
    leased.note(
        port.shown if port else "",
        f"--master_port={leased.port}",
        "Every attempt has a rendezvous port of its own, so two runs cannot collide on one.",
    )
    network = [flag for flag in call.flags if flag.name in _NETWORK_FLAGS]
    if [flag.shown for flag in network] not in ([], ["--master_addr=127.0.0.1"]):
        leased.note(
            " ".join(flag.shown for flag in network),
            "",
            "It is for runs over several machines or for finding the launcher again; "
            "this run stays on the box, and Berth supervises it.",
        )


KNOWN = KnownLauncher(
    launcher=Launcher.DEEPSPEED,
    name="deepspeed",
    options=OPTIONS,
    settles="--num_gpus=N",
    count="`--num_gpus`, `--include`",
    port="`--master_port`, set to the leased one; MASTER_PORT is ignored",
    ends="started through its own launch module: TERM reaches all ranks one after the other; "
    "exit code is the failed rank's",
    read=read_flags,
    rewrite=rewrite,
)
