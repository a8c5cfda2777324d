"""
The torchrun launcher, `torchrun …` and `python -m torch.distributed.run|launch …`.

Static rendezvous on the leased port: the agent itself binds it and the ranks use the agent's
store, in every torch from 2.0 to 2.13. A c10d rendezvous would join another job's store when
the port is taken; static fails instead.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.launchers import parallel_sizes
from berth.commands.launchers.known import PORT_NOTE, KnownLauncher, Surroundings, over_nodes
from berth.commands.launchers.module_call import rewritten
from berth.commands.options import Options
from berth.commands.words import Word, word
from berth.protocol.states import Launcher

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

RENDEZVOUS_FLAGS = frozenset(
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


def read_flags(call: Call, around: Surroundings) -> FlagReading:
    """Read how many ranks the call asks for; refuse a call that needs other machines."""
    parsed = call.parsed
    if not around.several_nodes:
        refuse_machines(call)
    if parsed.has("help"):
        return FlagReading()
    if parsed.script is None:
        raise CommandError(
            "The torchrun command names no script; write it after the options, "
            "like torchrun --nproc-per-node=4 train.py."
        )
    reading = parallel_sizes.checked(call, asked(call), around)
    nodes = parsed.last("nnodes")
    wanted = _most_nodes(nodes.value.text) if nodes and nodes.value else 1
    return over_nodes(reading, wanted) if wanted > 1 else reading


def asked(call: Call) -> gpu_request.GpuRequest:
    """The number of ranks that the call's own flag says."""
    ranks = call.parsed.last("nproc_per_node")
    if ranks and ranks.value:
        return gpu_request.count(ranks.value.text, ranks.shown)
    return gpu_request.GpuRequest()


def refuse_machines(call: Call) -> None:
    """Refuse a call that needs other machines."""
    parsed = call.parsed
    nodes = parsed.last("nnodes")
    if nodes and nodes.value and _most_nodes(nodes.value.text) > 1:
        raise CommandError(
            f"{nodes.shown} asks for several machines, but Berth runs on this box only; leave it out."
        )
    rank = parsed.last("node_rank")
    if rank and rank.value and rank.value.text.isdecimal() and int(rank.value.text[:9]) > 0:
        raise CommandError(
            f"{rank.shown} is for runs over several machines, but Berth runs on this box only; "
            "leave it out."
        )


def _most_nodes(text: str) -> int:
    parts = text.split(":")
    return max((int(part[:9]) for part in parts if part.isdecimal()), default=1)


def rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    """Start one rank per leased GPU, with rendezvous on the leased port."""
    return rewritten(call, leased, call.module or "torch.distributed.run", own_flags)


def own_flags(call: Call, leased: LeaseSlice) -> list[Word]:
    """The launcher's flags for the lease, and those of the call that stay."""
    ranks, kept = _ranks(call, leased), without_rendezvous(call)
    if not call.hides_options:
        return [*ranks, *kept]
    # The last one counts, and what `$ARGS` holds must not be that.
    met = [f"--rdzv-endpoint={leased.gang.address}:{leased.port}"] if leased.port else []
    return [*kept, *ranks, *map(word, met)]


def without_rendezvous(call: Call) -> list[Word]:
    """The call's flags without those that say where its ranks meet, and how many there are."""
    dropped = RENDEZVOUS_FLAGS | {"nproc_per_node"}
    return [each for flag in call.flags if flag.name not in dropped for each in flag.words]


def _ranks(call: Call, leased: LeaseSlice) -> list[Word]:
    said = call.parsed.last("nproc_per_node")
    asked = gpu_request.count(said.value.text, "").count if said and said.value else None
    number = len(leased.visible) or asked or 1
    became = f"--nproc-per-node={number}"
    if not (said and asked == number):
        leased.note(
            said.shown if said else "",
            became,
            f"One rank for each GPU that the job was given ({leased.gpu_names}).",
        )
    if leased.port is None:
        rendezvous = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    else:
        rendezvous = [
            "--rdzv-backend=static",
            f"--master-addr={leased.gang.address}",
            f"--master-port={leased.port}",
        ]
    gang = leased.gang
    whole = [f"--nnodes={gang.nodes}", f"--node-rank={gang.rank}", *rendezvous]
    written = [flag.shown for flag in call.flags if flag.name in RENDEZVOUS_FLAGS]
    if written != whole:
        leased.note(
            " ".join(written),
            " ".join(rendezvous),
            PORT_NOTE,
        )
    return [word(became), *map(word, whole)]


KNOWN = KnownLauncher(
    launcher=Launcher.TORCHRUN,
    name="torchrun",
    options=OPTIONS,
    settles="--nproc-per-node=N",
    count="`--nproc-per-node`",
    port="`--master-port`, set to the leased one",
    ends="TERM reaches all ranks; exit code 1 for any failed rank",
    read=read_flags,
    rewrite=rewrite,
    files=parallel_sizes.config_files,
)
