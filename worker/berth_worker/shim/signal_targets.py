"""Choice of the processes that get SIGTERM; detection of ranks that their launcher left."""

from __future__ import annotations

import os
import signal

from berth_worker.shim import files, process_tree

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "ash", "busybox"})
_MOST_DIGITS = 9  # int() refuses thousands of them
_HELPERS = (b"multiprocessing", b"compile_worker", b"wandb")


def term_targets(family: list[process_tree.Process]) -> list[process_tree.Process]:
    """
    Return the descendants that get TERM at once.

    All ranks get it together, whatever started them. A process that handles TERM looks after its
    own children: a trainer that saves first must not lose its data loaders, so they get none.
    Shells do not: they act on a signal only after the program they wait for. Launchers that
    handle TERM are passed over while they have ranks: after 30 s of their own they would kill
    ranks that still save, deepspeed's even one after the other.
    """
    children: dict[int, list[process_tree.Process]] = {}
    for process in family:
        children.setdefault(process.parent, []).append(process)
    launchers = _launchers(family)
    chosen: list[process_tree.Process] = []
    todo = list(children.get(os.getpid(), ()))
    while todo:
        process = todo.pop()
        handles = process.name not in _SHELLS and process_tree.catches(process.pid, signal.SIGTERM)
        passed_over = handles and process.pid in launchers
        if not passed_over:
            chosen.append(process)
        if passed_over or not handles:
            todo.extend(children.get(process.pid, ()))
    return chosen


def _launchers(family: list[process_tree.Process]) -> set[int]:
    """The ancestors of ranks: of processes with LOCAL_RANK whose parents have none."""
    parent_of = {process.pid: process.parent for process in family}
    ranked = {pid for pid in parent_of if b"LOCAL_RANK" in process_tree.environment(pid)}
    found: set[int] = set()
    for pid in ranked:
        above = parent_of[pid]
        while above not in ranked and above in parent_of and above not in found:
            found.add(above)
            above = parent_of[above]
    return found


def ranks_left() -> bool:
    """
    Return whether a whole set of ranks still runs: then the launcher cannot have succeeded.

    `deepspeed` exits with code 0 when the process between it and its ranks is killed. Helpers of
    ranks that have ended properly (data loaders, compilers) do not count.
    """
    found: set[bytes] = set()
    size = 0
    for process in process_tree.descendants():
        variables = process_tree.environment(process.pid)
        rank = variables.get(b"LOCAL_RANK")
        if rank is None or process.flags & process_tree.PF_FORKNOEXEC:
            continue
        command = files.read(f"/proc/{process.pid}/cmdline")
        if any(word in command for word in _HELPERS):
            continue
        found.add(rank)
        text = variables.get(b"LOCAL_WORLD_SIZE") or variables.get(b"WORLD_SIZE") or b""
        size = int(text) if text.isdigit() and len(text) < _MOST_DIGITS else size
    return size > 1 and len(found) >= size
