"""Attempts at jobs on the wire: their start, their GPUs and their end."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message
from berth.protocol.progress import GpuUsage
from berth.protocol.states import AttemptState, FenceKind, Launcher, Outcome

PlacementRule = Literal[
    "no_choice",
    "links",
    "rest_links",
    "small_cards",
    "lowest_index",
    "share",
    "grown",
    "fullest_node",
]


class CodeSnapshot(Wire):
    """A git work tree as it was when a job was submitted."""

    commit: str | None = Field(default=None, examples=["9f2c1e7a0b5d4c3f8e6a7b1c2d3e4f5a6b7c8d9e"])
    """The commit that was checked out; absent before the first."""
    branch: str | None = Field(default=None, examples=["main"])
    """The branch that was checked out; absent where none was."""
    root: str = Field(examples=["/home/ada/twin"])
    """Top folder of the work tree."""
    subdir: str = ""
    """Folder in it that the job runs in."""
    changed: int = 0
    """Tracked files that differed from the commit."""
    untracked: int = 0
    """Files that git neither tracked nor ignored; they are part of the snapshot."""
    files: int = 0
    """Number of copied files."""
    bytes: int = 0
    """Bytes of them."""
    diff_bytes: int = 0
    """Bytes of the difference to the commit, `GET /jobs/{id}/snapshot/diff`."""
    linked: list[str] = Field(default_factory=list, examples=[["data", "outputs"]])
    """Ignored files and folders, relative to `root`: links to where they are."""
    digest: str
    """SHA-256 of the archive, `GET /jobs/{id}/snapshot/archive`."""


class Change(Wire):
    """One thing that was changed in a command to make it safe, with the reason."""

    what: str = Field(examples=["--num_gpus=4"])
    """The user's words; empty when something was added."""
    became: str = Field(examples=["--world_info=…  (GPUs 4\N{EN DASH}7)"])
    """The words that run instead; empty when they were taken out."""
    why: str
    """The reason, one sentence."""


class LaunchFacts(Wire):
    """The start of an attempt as it really happened."""

    launcher: Launcher
    """Launcher of the ranks."""
    before: str
    """The command as submitted, one line."""
    after: str
    """The command as started, one line."""
    changes: tuple[Change, ...] = ()
    """Everything that differs, and why."""
    cuda_visible_devices: str
    """The value the job sees: counts from 0 inside a namespace fence, else the box's indices."""
    master_port: int | None = None
    """The rendezvous port leased to the attempt."""
    fence: FenceKind
    """The fence the attempt runs in."""


class Placement(Wire):
    """Facts that decided an attempt's GPUs, at the moment of the choice."""

    free_indices: list[int] = Field(examples=[[0, 1, 2, 3, 5]])
    """The box's indices of the GPUs that it could choose from, its own included."""
    link: str | None = Field(default=None, examples=["NV18"])
    """The weakest link between two of its GPUs, as `nvidia-smi topo -m` names it; absent for one
    GPU and where links are not known."""
    numa_nodes: list[int] = Field(default_factory=list, examples=[[0]])
    """The NUMA nodes of its GPUs, ascending."""
    rule: PlacementRule
    """The decisive comparison: there was nothing to choose, the links between its GPUs, those between the
    GPUs that stay free, the smallest GPUs, the lowest indices, (`share`) the fullest GPU with
    room for its share, (`grown`) a search that does not compare all of very many choices, or, on a
    cluster, (`fullest_node`) the nodes that are fullest and have room."""
    sentence: str
    """The same for people, in one to three sentences."""
    sentence_parts: Message = Message()
    """The sentences as typed parts."""


class Attempt(Wire):
    """One try at a job."""

    id: str = Field(examples=["42.1"])
    """Job id, a dot, the attempt's number from 1."""
    number: int
    """1 for the first."""
    state: AttemptState
    """Stage of its life."""
    outcome: Outcome | None = None
    """Reason for its end; absent until then."""
    message: str | None = None
    """One sentence about the end, naming the fix where there is one."""
    message_parts: Message = Message()
    """The message as typed parts; empty without one."""
    gpu_indices: list[int]
    """The box's indices of its GPUs, ascending."""
    gpu_uuids: list[str]
    """UUIDs of its GPUs, in the order of `gpu_indices`."""
    master_port: int | None = None
    """The rendezvous port leased to it; absent without GPUs."""
    created_at: UtcTime | None = None
    """Time at which its GPUs were leased."""
    started_at: UtcTime | None = None
    """Start of the job's first process."""
    saved_at: UtcTime | None = None
    """Time of its last complete checkpoint; absent when there is none."""
    ended_at: UtcTime | None = None
    """End of its last process; absent until then."""
    exit_code: int | None = None
    """Exit code; 128 + N when signal N ended it."""
    signal: int | None = None
    """The signal that ended it, if one did."""
    max_rss_bytes: int | None = None
    """Largest resident memory of any one of its processes, bytes."""
    run_dir: str
    """Folder with spec.json, launch.json, output.log, metrics.jsonl, exit.json."""
    usage: GpuUsage | None = None
    """Usage of its GPUs; absent without GPUs, and for attempts of earlier versions."""
    launch: LaunchFacts | None = None
    """The start as it really happened; absent until the worker reported it."""
    placement: Placement | None = None
    """Reason for these GPUs and no others; absent without GPUs."""
