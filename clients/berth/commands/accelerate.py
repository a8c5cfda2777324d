"""
`accelerate launch …`.

An old `accelerate config` in the user's home overrides CUDA_VISIBLE_DEVICES, port and
precision, so a configuration file is always named: the user's, else a neutral one.
"""

from __future__ import annotations

from berth.commands import cards
from berth.commands.call import Call, Reading, Share
from berth.commands.model import CommandError
from berth.commands.options import Options
from berth.commands.words import Word, word

NEUTRAL_ACCELERATE_CONFIG = """\
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
machine_rank: 0
main_training_function: main
num_machines: 1
num_processes: 1
use_cpu: false
"""
"""A configuration that decides nothing. It names no precision on purpose: accelerate would
hold that against the precision of a DeepSpeed file."""

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

_MEETING_FLAGS = frozenset(
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


def look(call: Call) -> Reading:
    """Say how many ranks the call asks for; refuse what needs more than this box."""
    given = call.given
    _refuse(call)
    if given.has("help"):
        return Reading()
    if given.script is None:
        raise CommandError(
            "The accelerate command names no script; write it after the options, "
            "like accelerate launch --num_processes=4 train.py."
        )
    warnings: list[str] = []
    number, ids = given.last("num_processes"), given.last("gpu_ids")
    wish = cards.Wish()
    if ids and ids.value:
        wish = cards.index_list(ids.value.text, ids.shown)
    if number and number.value:
        asked = cards.count(number.value.text, number.shown)
        if asked.count is not None:
            if wish.count is not None and wish.count != asked.count:
                warnings.append(
                    f"{number.shown} and {wish.said} disagree; Berth goes by {number.shown}."
                )
            indices = wish.indices if wish.count == asked.count else None
            wish = cards.Wish(asked.count, indices, asked.said)
    if given.has("cpu") and (wish.count or 0) > 1:
        warnings.append(
            "With --cpu accelerate starts a single process whatever --num_processes says; "
            "leave --cpu out to get one rank per GPU."
        )
    return Reading(wish=wish, warnings=tuple(warnings))


def _refuse(call: Call) -> None:
    for name, most in (("num_machines", 1), ("machine_rank", 0)):
        flag = call.given.last(name)
        if flag and flag.value and flag.value.text.isdecimal() and int(flag.value.text[:9]) > most:
            raise CommandError(
                f"{flag.shown} asks for several machines and Berth runs on this box only; "
                "leave it out."
            )
    for name in ("tpu", "tpu_cluster", "mpirun_hostfile", "deepspeed_hostfile"):
        flag = call.given.last(name)
        if flag:
            raise CommandError(
                f"{flag.shown} needs other machines than this box with its GPUs; leave it out."
            )


def rewrite(call: Call, share: Share) -> list[Word]:
    """Start one rank per leased card, meeting on the leased port, under a known configuration."""
    python = call.interpreter or share.python
    module = "accelerate.commands.launch"
    out = [word(python), *call.interpreter_options, word("-m"), word(module)]
    if call.module != module:
        share.note(
            " ".join(part.raw for part in call.program),
            f"{python} -m {module}",
            "The same launcher, run by the interpreter of the job's environment.",
        )
    if not call.given.has("help"):
        out.extend(_ranks(call, share))
    dropped = _MEETING_FLAGS | {"num_processes", "gpu_ids", "config_file", "multi_gpu"}
    for flag in call.flags:
        if flag.name not in dropped:
            out.extend(flag.words)
    script = call.given.script
    return [*out, *([script] if script else []), *call.given.arguments]


def _ranks(call: Call, share: Share) -> list[Word]:
    given = call.given
    said = given.last("num_processes")
    asked = cards.count(said.value.text, "").count if said and said.value else None
    number = len(share.visible) or asked or 1
    out = [*_config(call, share), word(f"--num_processes={number}"), word("--num_machines=1")]
    if asked != number:
        share.note(
            said.shown if said else "",
            f"--num_processes={number}",
            f"One rank for each GPU that the job was given ({share.cards}).",
        )
    ids = given.last("gpu_ids")
    # Named even if it was not: a configuration file of the user's may name cards.
    out.append(word("--gpu_ids=all"))
    if ids:
        share.note(
            ids.shown,
            "--gpu_ids=all",
            f"All that the job can see: it was given {share.cards}.",
        )
    port = share.port or 0
    meeting = [
        "--machine_rank=0",
        "--main_process_ip=127.0.0.1",
        f"--main_process_port={port}",
        "--rdzv_backend=static",
    ]
    written = [flag.shown for flag in call.flags if flag.name in _MEETING_FLAGS]
    if written != ["--num_machines=1", *meeting]:
        share.note(
            " ".join(written),
            f"--main_process_port={port}",
            "The ranks meet on this box, on a port that no other job has.",
        )
    return [*out, *map(word, meeting), *_several(call, share, number)]


def _config(call: Call, share: Share) -> list[Word]:
    own = call.given.last("config_file")
    if own:
        return list(own.words)
    flag = f"--config_file={share.accelerate_config}"
    share.note(
        "",
        flag,
        "Without it an `accelerate config` saved earlier would choose cards, port and precision; "
        "to use yours, name it with --config_file.",
    )
    return [word(flag)]


def _several(call: Call, share: Share, number: int) -> list[Word]:
    """Say --multi_gpu when it is needed: without it accelerate starts one process."""
    given = call.given
    own = given.last("multi_gpu")
    decided = given.has(*_OWN_WAYS) or (given.has("config_file") and not own)
    if decided or number < 2:
        if own:
            share.note(own.shown, "", f"The job was given {share.cards}.")
        return []
    if not own:
        share.note("", "--multi_gpu", "Without it accelerate starts a single process.")
    return [word("--multi_gpu")]
