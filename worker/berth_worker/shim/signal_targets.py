"""Choice of the processes that get SIGUSR1 and SIGTERM; detection of ranks left by their launcher."""

from __future__ import annotations

import os
import signal

from berth_worker.shim import files, process_tree

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "ash", "busybox"})
_MOST_DIGITS = 9  # int() refuses thousands of them
_HELPERS = (b"multiprocessing", b"compile_worker", b"wandb")


# bash handles all of these, and SIGUSR1, for a trap on EXIT: it runs the trap and dies.
_FOR_EXIT = (signal.SIGUSR2, signal.SIGXCPU, signal.SIGVTALRM, signal.SIGALRM)


def warn_targets(family: list[process_tree.Process]) -> list[process_tree.Process]:
    """
    Return the descendants that want the warning: those that handle SIGUSR1 themselves.

    A shell with a trap on EXIT alone handles it too, only to die; so does `timeout`, which passes
    it on to a program that may not.
    """
    return [
        process
        for process in family
        if process_tree.catches(process.pid, signal.SIGUSR1)
        and process.name != "timeout"
        and (process.name not in _SHELLS or _traps_usr1(process.pid))
    ]


def _traps_usr1(pid: int) -> bool:
    """True if a shell that handles SIGUSR1 has a trap for it, as far as its text tells."""
    if not all(process_tree.catches(pid, number) for number in _FOR_EXIT):
        return True
    # The kernel knows no difference between the two handlers; the text does.
    words = files.read(f"/proc/{pid}/cmdline").split(b"\0")[1:]
    if any(_names_usr1(word) for word in words):
        return True
    script = next((word for word in words if word and not word.startswith((b"-", b"+"))), b"")
    folder = b"" if script.startswith(b"/") else b"cwd/"
    path = os.fsdecode(b"/proc/%d/%s%s" % (pid, folder or b"root", script))
    return bool(script) and _names_usr1(files.read(path))


def _names_usr1(text: bytes) -> bool:
    return b"USR1" in text or any(
        b"trap" in line and line.split()[-1] == b"10" for line in text.splitlines()
    )


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
