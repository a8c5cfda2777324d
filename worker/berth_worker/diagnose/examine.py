"""Examination of a run that makes no steps: what its processes do, and where its ranks are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from berth.protocol.internal import ExaminedProcess
from berth_worker.devices import processes
from berth_worker.shim import process_tree

STACKS_NAME = "stacks.txt"
_OVER_S = 6.0
_DUMP_TIMEOUT_S = 15.0
_MOST_DUMPS = 16
_MOST_BYTES = 1 << 20
_DEBUGGERS = ("debugpy", "pydevd", "gdb", "cuda-gdb", "lldb", "strace", "ipdb", "pudb")


def examine(
    roots: Collection[int], gpu_of: Mapping[int, int], over_s: float = _OVER_S
) -> tuple[ExaminedProcess, ...]:
    """
    Return what each process below `roots` does over some seconds; `gpu_of` tells GPUs by pid.

    Blocks for that long. A process that ends meanwhile is left out.
    """
    before = {pid: _used(pid) for pid in processes.tree(roots)}
    began = time.monotonic()
    time.sleep(over_s)
    elapsed_s = time.monotonic() - began
    found: list[ExaminedProcess] = []
    for pid in sorted(processes.tree(roots)):
        now = _used(pid)
        if now is None:
            continue
        # One that began meanwhile has done all of it in these seconds.
        cpu_s, io_bytes = before.get(pid) or (0.0, 0)
        found.append(
            ExaminedProcess(
                pid=pid,
                cpu=round(max(0.0, now[0] - cpu_s) / elapsed_s, 3),
                io_bytes_s=round(max(0, now[1] - io_bytes) / elapsed_s, 1),
                gpu=gpu_of.get(pid),
                rank=_rank(pid),
                debugged=_is_debugged(pid),
            )
        )
    return tuple(found)


def stacks(examined: Collection[ExaminedProcess]) -> bytes | None:
    """
    Return the Python stacks of the ranks, or of all.

    None where py-spy is not installed, on PATH or beside the worker's Python, or may not look.
    """
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        return None
    ranks = [one for one in examined if one.gpu is not None or one.rank is not None] or [*examined]
    texts: list[bytes] = []
    seen = False
    for one in ranks[:_MOST_DUMPS]:
        head = f"--- pid {one.pid}" + (f", rank {one.rank}" if one.rank is not None else "")
        head += f", GPU {one.gpu}" if one.gpu is not None else ""
        found, dumped = _dump(spy, one.pid)
        texts.append(head.encode() + b"\n" + dumped)
        seen = seen or found
    return b"\n".join(texts)[:_MOST_BYTES] if seen else None


def _dump(spy: str, pid: int) -> tuple[bool, bytes]:
    """Return True with the stack, or False with the reason that there is none."""
    try:
        done = subprocess.run(
            [spy, "dump", "--nonblocking", "--pid", str(pid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DUMP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"py-spy: {type(error).__name__}\n".encode()
    return bool(done.stdout), done.stdout or done.stderr[-500:]


def _used(pid: int) -> tuple[float, int] | None:
    """Seconds of processor time and bytes read and written so far; None for none that lives."""
    process = process_tree.read(pid)
    if process is None or process.state in {"Z", "X"}:
        return None
    return process.cpu_ticks / processes.TICKS_PER_S, _io_bytes(pid)


def _io_bytes(pid: int) -> int:
    total = 0
    for line in _lines(pid, "io"):
        name, _, value = line.partition(":")
        if name in {"rchar", "wchar"}:
            total += int(value)
    return total


def _rank(pid: int) -> int | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    rank = next((one[5:] for one in variables if one.startswith(b"RANK=")), b"")
    return int(rank) if rank.isdigit() else None


def _is_debugged(pid: int) -> bool:
    process = process_tree.read(pid)
    if process is not None and process.state in {"T", "t"}:
        return True
    for line in _lines(pid, "status"):
        if line.startswith("TracerPid:") and line.split()[1] != "0":
            return True
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    names = {os.path.basename(word.decode(errors="replace")) for word in words}  # noqa: PTH119 - no path
    if names.intersection(_DEBUGGERS):
        return True
    return any("pydevd" in line or "debugpy" in line for line in _lines(pid, "maps"))


def _lines(pid: int, name: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace").splitlines()
    except OSError:
        return []
