"""
Containers, `docker run --gpus all IMAGE …` and podman's like.

A container's daemon starts it outside of every fence: the GPUs that its flags name are all that
keeps it to its lease, so they are replaced, and what cannot be kept to a lease is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers.known import KnownLauncher, Surroundings
from berth.commands.options import Flag, Options, ParsedArgs
from berth.commands.words import Word, word
from berth.protocol.states import Launcher

PROGRAMS = frozenset({"docker", "podman", "nvidia-docker"})
_COMPOSE = frozenset({"docker-compose", "podman-compose"})
_STARTS = frozenset({"exec", "start", "restart", "create", "container", "stack", "service"})
_COMPOSE_STARTS = frozenset({"up", "run", "start", "restart", "exec", "create"})
_OPTIONS = Options(
    frozenset(
        {"rm", "interactive", "tty", "detach", "init", "privileged", "read_only", "publish_all"}
        | {"quiet", "no_healthcheck", "oom_kill_disable", "help", "sig_proxy", "replace"}
    ),
    frozenset({"gpus", "device", "env", "runtime", "name", "volume", "workdir", "user"}),
    {"i": "interactive", "t": "tty", "d": "detach", "P": "publish_all", "q": "quiet", "e": "env"}
    | {"v": "volume", "w": "workdir", "u": "user", "p": "publish", "l": "label", "h": "hostname"}
    | {"m": "memory", "c": "cpu_shares", "a": "attach"},
    abbreviations=False,
    others_take_values=True,
)
_CDI = "nvidia.com/gpu="
_OURS = re.compile(
    r"(?:NVIDIA_VISIBLE_DEVICES|CUDA_VISIBLE_DEVICES|MASTER_ADDR|MASTER_PORT)(?:=|$)"
)
_PASSED = ("BERTH_ATTEMPT", "BERTH_RUN_DIR", "BERTH_JOB_ID", "MASTER_ADDR", "MASTER_PORT")

# Launchers inside the container that say how many of "all" they use.
_INSIDE = re.compile(
    r"--(?:nproc[-_]per[-_]node|num[-_]gpus|num[-_]processes|tensor[-_]parallel[-_]size)[= ](\d+)"
)


def refuse(name: str, rest: Sequence[Word]) -> None:
    """Raise CommandError for calls that start programs whose GPUs Berth cannot choose."""
    words = [each.text for each in rest if not each.startswith("-")]
    if name == "sudo" and words and words[0] in PROGRAMS | _COMPOSE:
        raise CommandError(
            f"Berth cannot choose the GPUs of a container behind `sudo`; write `{words[0]} run …` "
            f"without it (the group docker may)."
        )
    first = words[0] if words else ""
    if name in PROGRAMS and first in _STARTS:
        raise CommandError(
            f"`{name} {first}` starts programs on GPUs that Berth cannot choose; write "
            f"`{name} run --gpus N IMAGE …`."
        )
    inner = words[1] if name in PROGRAMS and first == "compose" and len(words) > 1 else first
    if (name in _COMPOSE or first == "compose") and inner in _COMPOSE_STARTS:
        raise CommandError(
            "Berth cannot choose the GPUs of composed containers; write the job's own one as "
            "`docker run --gpus N IMAGE …`."
        )


def _parsed(call: Call) -> ParsedArgs:
    return _OPTIONS.parse(call.parsed.arguments)


def _asked(flag: Flag) -> GpuRequest:
    """The GPUs that `--gpus 2`, `--gpus all`, `--gpus '"device=0,1"'` ask for."""
    value = (flag.value.text if flag.value else "").strip("'\" ")
    named = re.search(r"device=([^\"';]+)", value)
    if named:
        names = re.split(r",(?=capabilities=|driver=|count=)", named[1])[0].rstrip(",")
        return gpu_request.visible_devices(names, flag.shown)
    counted = re.search(r"count=(-?\w+)", value)
    return gpu_request.count(counted[1] if counted else value, flag.shown)


def _variable(flag: Flag) -> str:
    return flag.value.text if flag.name == "env" and flag.value else ""


def _devices(parsed: ParsedArgs) -> list[str]:
    return [f.value.text for f in parsed.flags if f.name == "device" and f.value]


def _read(call: Call, _around: Surroundings) -> FlagReading:
    parsed = _parsed(call)
    shorts = [f.words[0].text for f in parsed.flags if re.fullmatch(r"-[a-zA-Z]+", f.words[0].text)]
    if parsed.has("detach") or any("d" in s for s in shorts if set(s[1:]) <= set("itdPq")):
        raise CommandError(
            "A detached container outlives its job and keeps its GPUs; leave `-d` out, Berth "
            "already runs the job in the background."
        )
    if parsed.has("privileged"):
        raise CommandError(
            "`--privileged` opens every GPU of the box to the container; leave it out, or add the "
            "one right that is needed with --cap-add."
        )
    if any(device.startswith("/dev/nvidia") for device in _devices(parsed)):
        raise CommandError(
            "`--device /dev/nvidia…` names GPUs past the queue; write --gpus N instead."
        )
    requests = _requests(parsed)
    if not requests:
        told = (
            f"`{call.program[0].text} run` without --gpus gives its container no GPU; write --gpus N, "
            "or submit it with --gpus 0."
        )
        return FlagReading(warnings=(told,))
    inside = _INSIDE.search(" ".join(each.text for each in parsed.arguments))
    if inside:
        requests.append(gpu_request.count(inside[1], inside[0]))
    known = [request for request in requests if request.count is not None]
    return FlagReading(request=known[0] if known else requests[0])


def _requests(parsed: ParsedArgs) -> list[GpuRequest]:
    """The GPUs that each of the options asks for."""
    requests = [_asked(flag) for flag in parsed.flags if flag.name == "gpus"]
    cdi = [d.removeprefix(_CDI) for d in _devices(parsed) if d.startswith(_CDI)]
    if cdi:
        requests.append(gpu_request.visible_devices(",".join(cdi), f"--device {_CDI}{cdi[0]}"))
    for flag in parsed.flags:
        name, _, value = _variable(flag).partition("=")
        if name == "NVIDIA_VISIBLE_DEVICES" and value:
            requests.append(gpu_request.visible_devices(value, flag.shown))
    return requests


def _rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    parsed = _parsed(call)
    names = [*leased.uuids] or [str(index) for index in leased.indices]
    chosen = ",".join(names)
    kept: list[Word] = []
    taken: list[str] = []
    by_cdi = False
    for flag in parsed.flags:
        cdi = flag.name == "device" and bool(flag.value and flag.value.startswith(_CDI))
        by_cdi = by_cdi or cdi
        if flag.name == "gpus" or cdi or _OURS.match(_variable(flag)):
            taken.append(flag.shown)
        else:
            kept += flag.words
    added: list[Word] = []
    if by_cdi:
        for name in names:
            added += [word("--device"), word(f"{_CDI}{name}")]
    elif names and parsed.has("gpus"):
        # docker reads the value as CSV: a list of devices needs quotes of its own.
        added += [word("--gpus"), word(f'"device={chosen}"')]
    added += [word("-e"), word(f"NVIDIA_VISIBLE_DEVICES={chosen or 'void'}")]
    shown = " ".join(each.raw for each in added)
    given = leased.gpu_names if names else "no GPU"
    leased.note(" ".join(taken), shown, f"The job was given {given}.")
    for name in _PASSED:
        added += [word("-e"), word(name)]
    added += [word("-e"), word("PET_STANDALONE=1")]
    image = [parsed.script] if parsed.script else []
    return [*call.program, *kept, *added, *image, *parsed.arguments]


KNOWN = KnownLauncher(
    launcher=Launcher.DOCKER,
    name="docker run",
    programs=PROGRAMS,
    verbs=frozenset({"run"}),
    settles="--gpus N",
    starts="starts a container",
    count="`--gpus`, `--device nvidia.com/gpu=…` or NVIDIA_VISIBLE_DEVICES; `all` says nothing",
    port="its own network's; with `--network host` MASTER_PORT, which is passed on",
    ends="TERM goes to the container's first process; exit code is the container's",
    read=_read,
    rewrite=_rewrite,
    alone=lambda call: not _requests(_parsed(call)),
)
