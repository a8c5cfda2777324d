"""
Listing of a cluster: its jobs and nodes, as Slurm's commands print them.

Pure: text in, records out. Only named fields are read, so that a version which adds some changes
nothing; a line that lacks one is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from berth_worker.slurm import hostlist

SEPARATOR = "\x1f"
JOB_FORMAT = SEPARATOR.join(("%A", "%T", "%r", "%u", "%V", "%S", "%N", "%j"))
"""For `squeue -o`: id, state, reason, user, submit time, start, nodes, name."""
SACCT_FIELDS = ("JobIDRaw", "State", "ExitCode", "Submit", "NodeList")

_JOB = re.compile(r"^JobId=(\d+) ", re.MULTILINE)
_EXIT = re.compile(r" ExitCode=(\d+):(\d+)")
_PLACED = re.compile(r"Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*)")
_INDEX = re.compile(r"gpu(?::[^:(,]+)?:\d+\(IDX:([^)]*)\)")
_NODE = re.compile(r"^NodeName=(\S+) ", re.MULTILINE)
_GRES = re.compile(r"\bgpu(?::([^:(,=]+))?:(\d+)")


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A job of the cluster."""

    id: int
    name: str
    state: str
    """Slurm's word, like `PENDING`."""
    reason: str = ""
    user: str = ""
    submitted_at: int = 0
    """Unix seconds."""
    start_at: int | None = None
    """Its start, or the one that Slurm expects, unix seconds; None when that is not known."""
    nodes: tuple[str, ...] = ()
    gpus: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    """The indices that it holds on each node; known only while it runs."""
    exit_code: int | None = None
    """Of an ended job; None while it runs or when Slurm does not say."""
    exit_signal: int = 0


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node of the cluster that has GPUs."""

    name: str
    states: frozenset[str]
    """Like `{"MIXED", "DRAIN"}`."""
    gpus: int
    model: str = ""
    used: frozenset[int] = frozenset()
    """Indices that some job holds."""
    reason: str = ""
    partitions: frozenset[str] = frozenset()
    version: str = ""

    @property
    def problem(self) -> str | None:
        """The reason that Slurm starts nothing there; None when it does."""
        out = self.states & _OUT_OF_USE
        if not out:
            return None
        words = " and ".join(sorted(word.lower() for word in out))
        return f"{self.name} is {words} in Slurm" + (f": {self.reason}" if self.reason else "")


_OUT_OF_USE = frozenset(
    {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "MAINT", "NOT_RESPONDING"}
    | {"POWERED_DOWN", "POWERING_DOWN", "REBOOT", "FUTURE", "UNKNOWN", "INVAL", "INVALID_REG"}
)


def jobs(text: str) -> list[ClusterJob]:
    """Read the output of `squeue -h -t all -o JOB_FORMAT` (times in unix seconds)."""
    # Not splitlines: a name may hold what Python takes for the end of a line.
    found = (job(line) for line in text.split("\n"))
    return [one for one in found if one is not None]


def job(line: str) -> ClusterJob | None:
    """Read one line of it; None for a line that is none."""
    parts = line.split(SEPARATOR, 7)
    if len(parts) != 8 or not parts[0].isdecimal():
        return None
    number, state, reason, user, submitted, start, nodes, name = parts
    return ClusterJob(
        id=int(number),
        name=name,
        state=state,
        reason="" if reason == "None" else reason,
        user=user,
        submitted_at=int(submitted) if submitted.isdecimal() else 0,
        start_at=int(start) if start.isdecimal() else None,
        nodes=hostlist.nodes(nodes),
    )


@dataclass(frozen=True, slots=True)
class JobDetail:
    """The part of a job that `squeue` cannot print."""

    gpus: dict[str, frozenset[int]]
    exit_code: int
    exit_signal: int


def details(text: str) -> dict[int, JobDetail]:
    """Read the output of `scontrol -d -o show job`, by job id."""
    found: dict[int, JobDetail] = {}
    for line in text.splitlines():
        head, code = _JOB.match(line), _EXIT.search(line)
        if head is None:
            continue
        gpus: dict[str, frozenset[int]] = {}
        for nodes, gres in _PLACED.findall(line):
            held = frozenset[int]().union(*map(hostlist.indices, _INDEX.findall(gres)))
            if held:
                gpus.update(dict.fromkeys(hostlist.nodes(nodes), held))
        found[int(head[1])] = JobDetail(
            gpus, int(code[1]) if code else 0, int(code[2]) if code else 0
        )
    return found


def nodes(text: str, partition: str | None = None) -> list[ClusterNode]:
    """Read the output of `scontrol -d -o show node`: nodes with GPUs, of a partition if given."""
    found: list[ClusterNode] = []
    for line in text.splitlines():
        head = _NODE.match(line)
        gres = _GRES.search(_value(line, "Gres"))
        if head is None or gres is None:
            continue
        partitions = frozenset(_value(line, "Partitions").split(","))
        if partition is not None and partition not in partitions:
            continue
        used = _INDEX.findall(_value(line, "GresUsed"))
        state = _value(line, "State")
        states = frozenset(re.sub(r"[*~#!%$@^-]+$", "", word) for word in state.split("+"))
        silent = {"NOT_RESPONDING"} if "*" in state else set[str]()
        found.append(
            ClusterNode(
                name=head[1],
                states=states | silent,
                gpus=int(gres[2]),
                model=gres[1] or "",
                used=frozenset[int]().union(*map(hostlist.indices, used)),
                reason=_reason(line),
                partitions=partitions,
                version=_value(line, "Version"),
            )
        )
    return found


def _value(line: str, name: str) -> str:
    found = re.search(rf" {name}=(\S*)", line)
    return "" if found is None or found[1] == "(null)" else found[1]


def _reason(line: str) -> str:
    """Return a node's reason, which is free text: it ends before ` [user@time]`."""
    found = re.search(r" Reason=(.*?)(?: \[[^\]]*\])?\s*$", line)
    return found[1].strip() if found else ""


def accounting(text: str) -> list[ClusterJob]:
    """Read the output of `sacct -X -n -P -o SACCT_FIELDS` (times in unix seconds)."""
    found: list[ClusterJob] = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) != len(SACCT_FIELDS) or not parts[0].isdecimal():
            continue
        number, state, code, submitted, nodes = parts
        exit_code, _, signal = code.partition(":")
        found.append(
            ClusterJob(
                id=int(number),
                name="",
                state=state.split(" ")[0],
                reason=state,
                submitted_at=int(submitted) if submitted.isdecimal() else 0,
                nodes=hostlist.nodes(nodes),
                exit_code=int(exit_code) if exit_code.isdecimal() else None,
                exit_signal=int(signal) if signal.isdecimal() else 0,
            )
        )
    return found
