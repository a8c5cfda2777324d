"""Who is told to end, and whether a launcher left its ranks behind."""

from __future__ import annotations

import os
import signal

from berth_worker.shim import files, process_tree

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "ash", "busybox"})
_HELPERS = (b"multiprocessing", b"compile_worker", b"wandb")


def addressees(family: list[process_tree.Process]) -> list[process_tree.Process]:
    """
    Who of the descendants gets TERM at once.

    All ranks together, whatever started them. Who handles TERM leads its own helpers: a
    trainer that saves first must not lose its data loaders, so its children get none. Shells
    are no leaders: they act on a signal only after the program they wait for.
    Launchers that handle TERM are passed over while they have ranks: they would kill ranks
    that are still saving after 30 s of their own, deepspeed's even one after the other.
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
    Whether a whole set of ranks is still there: then no launcher can have succeeded.

    `deepspeed` ends with exit code 0 when the process between it and its ranks is killed.
    Helpers of ranks that have ended properly (data loaders, compilers) are no ranks.
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
        size = int(text) if text.isdigit() else size
    return size > 1 and len(found) >= size
