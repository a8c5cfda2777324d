"""
`torchrun …` and `python -m torch.distributed.run|launch …`.

Static rendezvous on the leased port: the agent itself binds it and the ranks use the agent's
store, in every torch from 2.0 to 2.13. A c10d rendezvous would join a stranger's store when
the port is taken; static fails instead.
"""

from __future__ import annotations

from berth.commands import cards
from berth.commands.call import Call, Reading, Share
from berth.commands.model import CommandError
from berth.commands.options import Options
from berth.commands.words import Word, word

OPTIONS = Options(
    switches=frozenset(
        {
            "standalone",
            "module",
            "no_python",
            "run_path",
            "virtual_local_rank",
            "use_env",
            "help",
        }
    ),
    valued=frozenset(
        {
            "nnodes",
            "nproc_per_node",
            "rdzv_backend",
            "rdzv_endpoint",
            "rdzv_id",
            "rdzv_conf",
            "max_restarts",
            "monitor_interval",
            "start_method",
            "event_log_handler",
            "role",
            "log_dir",
            "redirects",
            "tee",
            "local_ranks_filter",
            "duplicate_stdout_filters",
            "duplicate_stderr_filters",
            "node_rank",
            "master_addr",
            "master_port",
            "local_addr",
            "logs_specs",
            "numa_binding",
            "signals_to_handle",
            "shutdown_timeout",
        }
    ),
    short={"m": "module", "r": "redirects", "t": "tee", "h": "help"},
)

_MEETING_FLAGS = frozenset(
    {
        "standalone",
        "rdzv_backend",
        "rdzv_endpoint",
        "master_addr",
        "master_port",
        "nnodes",
        "node_rank",
    }
)


def look(call: Call) -> Reading:
    """Say how many ranks the call asks for; refuse what needs more than this box."""
    given = call.given
    nodes = given.last("nnodes")
    if nodes and nodes.value and _most_nodes(nodes.value.text) > 1:
        raise CommandError(
            f"{nodes.shown} asks for several machines and Berth runs on this box only; leave it out."
        )
    rank = given.last("node_rank")
    if rank and rank.value and rank.value.text.isdecimal() and int(rank.value.text[:9]) > 0:
        raise CommandError(
            f"{rank.shown} is for runs over several machines and Berth runs on this box only; "
            "leave it out."
        )
    if given.has("help"):
        return Reading()
    if given.script is None:
        raise CommandError(
            "The torchrun command names no script; write it after the options, "
            "like torchrun --nproc-per-node=4 train.py."
        )
    ranks = given.last("nproc_per_node")
    if ranks and ranks.value:
        return Reading(wish=cards.count(ranks.value.text, ranks.shown))
    return Reading()


def _most_nodes(text: str) -> int:
    parts = text.split(":")
    return max((int(part[:9]) for part in parts if part.isdecimal()), default=1)


def rewrite(call: Call, share: Share) -> list[Word]:
    """Start one rank per leased card, meeting on the leased port."""
    python = call.interpreter or share.python
    module = call.module or "torch.distributed.run"
    out = [word(python), *call.interpreter_options, word("-m"), word(module)]
    if call.module is None:
        share.note(
            " ".join(part.raw for part in call.program),
            f"{python} -m {module}",
            "The same launcher, run by the interpreter of the job's environment.",
        )
    if not call.given.has("help"):
        out.extend(_ranks(call, share))
    dropped = _MEETING_FLAGS | {"nproc_per_node"}
    for flag in call.flags:
        if flag.name not in dropped:
            out.extend(flag.words)
    script = call.given.script
    return [*out, *([script] if script else []), *call.given.arguments]


def _ranks(call: Call, share: Share) -> list[Word]:
    said = call.given.last("nproc_per_node")
    asked = cards.count(said.value.text, "").count if said and said.value else None
    number = len(share.visible) or asked or 1
    became = f"--nproc-per-node={number}"
    if not (said and asked == number):
        share.note(
            said.shown if said else "",
            became,
            f"One rank for each GPU that the job was given ({share.cards}).",
        )
    if share.port is None:
        meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    else:
        meeting = [
            "--rdzv-backend=static",
            "--master-addr=127.0.0.1",
            f"--master-port={share.port}",
        ]
    whole = ["--nnodes=1", "--node-rank=0", *meeting]
    written = [flag.shown for flag in call.flags if flag.name in _MEETING_FLAGS]
    if written != whole:
        share.note(
            " ".join(written),
            " ".join(meeting),
            "The ranks meet on this box, on a port that no other job has.",
        )
    return [word(became), *map(word, whole)]
