"""
`deepspeed …`: started through its own middle process, `deepspeed.launcher.launch`.

The `deepspeed` command deletes CUDA_VISIBLE_DEVICES and counts cards from 0, ignores
MASTER_PORT, leaves its ranks alive on TERM and exits 0 when its middle process is killed
(measured with 0.19.8). The middle process takes cards and port as arguments.
"""

from __future__ import annotations

from berth.commands import cards
from berth.commands.call import Call, Reading, Share
from berth.commands.model import CommandError
from berth.commands.options import Flag, Options
from berth.commands.words import Word, word

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

_CARD_FLAGS = frozenset(
    {"num_gpus", "num_accelerators", "include", "exclude", "num_nodes", "world_info"}
)
_NETWORK_FLAGS = frozenset(
    {"master_addr", "node_rank", "no_ssh", "no_ssh_check", "ssh_port", "launcher_args", "save_pid"}
)
_BOX_ONLY = "Berth runs on this box only"


def look(call: Call) -> Reading:
    """Say how many cards the call asks for; refuse what needs more than this box."""
    given = call.given
    _refuse(call)
    if given.has("help"):
        return Reading()
    if given.script is None:
        raise CommandError(
            "The deepspeed command names no script; write it after the options, "
            "like deepspeed --num_gpus=4 train.py."
        )
    include, exclude = given.last("include"), given.last("exclude")
    number = given.last("num_gpus", "num_accelerators")
    packed = given.last("world_info")
    if include and include.value:
        if include.value.literal:
            return Reading(wish=cards.inclusion(include.value.text, include.shown))
        return Reading(wish=cards.Wish(said=include.shown))
    if number and number.value:
        return Reading(wish=cards.count(number.value.text, number.shown))
    if packed and packed.value:
        return Reading(wish=cards.world_info(packed.value.text, "--world_info"))
    if exclude:
        said = f"{exclude.shown} says which cards not to take, but not how many to take"
        return Reading(warnings=(f"{said}; say how many GPUs the job needs.",))
    return Reading()


def _refuse(call: Call) -> None:
    given = call.given
    for name, mend in (
        ("hostfile", "leave the hostfile out"),
        ("launcher", "leave --launcher out"),
        ("force_multi", "leave --force_multi out"),
        ("elastic_training", "leave --elastic_training out"),
        ("enable_elastic_training", "leave --enable_elastic_training out"),
        ("venv_script", "name the environment as the job's python instead"),
    ):
        flag = given.last(name)
        if flag:
            raise CommandError(
                f"{flag.shown} is for runs over several machines and {_BOX_ONLY}; {mend}."
            )
    for name, most in (("num_nodes", 1), ("node_rank", 0)):
        flag = given.last(name)
        if flag and flag.value and flag.value.text.isdecimal() and int(flag.value.text[:9]) > most:
            raise CommandError(
                f"{flag.shown} asks for several machines and {_BOX_ONLY}; leave it out."
            )
    tuning = given.last("autotuning")
    if tuning:
        raise CommandError(
            f"{tuning.shown} makes deepspeed start runs of its own on cards it picks itself; "
            "leave it out and use `berth plan` to choose batch and offload."
        )


def rewrite(call: Call, share: Share) -> list[Word]:
    """Start the middle process with the leased cards and port."""
    if call.given.has("help"):
        return _start(call, share, "deepspeed.launcher.runner") + _kept(call)
    if not share.visible:
        raise CommandError(
            "deepspeed starts one rank per GPU and this job has none; submit it with gpus 1 or more."
        )
    if share.port is None:
        raise CommandError("The attempt was given no rendezvous port; retry the job.")
    opaque = [flag.shown for flag in call.flags if not flag.known and not flag.words[0].literal]
    if opaque:
        # What hides in the variable may be --num_gpus, which the middle process refuses.
        return [*call.program, *(w for flag in call.flags for w in flag.words), *_script(call)]
    out = _start(call, share, "deepspeed.launcher.launch")
    out.append(word(f"--world_info={cards.encode_world_info(share.visible)}"))
    out.append(word("--master_addr=127.0.0.1"))
    out.append(word(f"--master_port={share.port}"))
    out.extend(_kept(call))
    _note_cards(call, share)
    return out + _script(call)


def _start(call: Call, share: Share, module: str) -> list[Word]:
    python = call.interpreter or share.python
    options = [option for option in call.interpreter_options if option.text != "-u"]
    if call.module != module:
        share.note(
            " ".join(part.raw for part in call.program),
            f"{python} -u -m {module}",
            "The deepspeed command ignores CUDA_VISIBLE_DEVICES and counts cards from 0, leaves "
            "its ranks running when it is stopped, and reports success when its middle process "
            "is killed; the middle process itself, started directly, does none of this.",
        )
    return [word(python), *options, word("-u"), word("-m"), word(module)]


def _kept(call: Call) -> list[Word]:
    kept: list[Word] = []
    for flag in call.flags:
        if flag.name not in _CARD_FLAGS | _NETWORK_FLAGS | {"master_port"}:
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
    script = call.given.script
    return [*([script] if script else []), *call.given.arguments]


def _note_cards(call: Call, share: Share) -> None:
    exact = f"--world_info={cards.encode_world_info(share.visible)}"
    said = [flag for flag in call.flags if flag.name in _CARD_FLAGS]
    if [flag.shown for flag in said] != [exact]:
        share.note(
            " ".join(flag.shown for flag in said),
            f"--world_info=…  ({share.cards})",
            f"The job was given {share.cards}, one rank on each.",
        )
    port = call.given.last("master_port")
    share.note(
        port.shown if port else "",
        f"--master_port={share.port}",
        "Every attempt has a rendezvous port of its own, so two runs cannot fight over one.",
    )
    network = [flag for flag in call.flags if flag.name in _NETWORK_FLAGS]
    if [flag.shown for flag in network] not in ([], ["--master_addr=127.0.0.1"]):
        share.note(
            " ".join(flag.shown for flag in network),
            "",
            "It concerns runs over several machines or finding the launcher again; "
            "this one stays on the box and Berth watches it.",
        )
