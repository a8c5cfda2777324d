"""Checks of the state folder's disk, of shared memory and of limits."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from berth.cli import text
from berth.cli.checks.finding import Finding, fail, ok, warn

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.sshfs",
    "fuse.juicefs",
    "gpfs",
    "lustre",
    "pvfs2",
    "virtiofs",
}
_MEMORY = {"tmpfs", "ramfs"}
_GIB = 1024**3
_SHM = "/dev/shm"  # noqa: S108 - not a temporary file: the size of shared memory is asked for


def findings(home: Path, *, own: bool = True) -> Iterator[Finding]:
    """Check a home's disk, shared memory and limits; `own`: a Berth may be started in it."""
    there = next((folder for folder in (home, *home.parents) if folder.exists()), Path("/"))
    if own:
        yield _writable(home, there)
    yield _file_system(home, there)
    yield _room(home, there)
    yield _shared_memory()
    yield _open_files()


def _writable(home: Path, there: Path) -> Finding:
    if os.access(there, os.W_OK | os.X_OK):
        made = "" if there == home else " (to be created)"
        return ok("home", f"{home}{made}.")
    return warn(
        "home",
        f"You cannot write to {home}, so `berth up` cannot start here.",
        "set BERTH_HOME to a folder of yours; to use the box's Berth you need none",
    )


def _file_system(home: Path, there: Path) -> Finding:
    kind = file_system(there)
    if kind in _NETWORK:
        return fail(
            "file system",
            f"{home} is on {kind}: SQLite is not safe on a network file system.",
            "set BERTH_HOME to a folder on a local disk",
        )
    if kind in _MEMORY:
        return warn(
            "file system",
            f"{home} is in memory ({kind}): jobs and their logs are lost when the box restarts.",
            "set BERTH_HOME to a folder on a local disk",
        )
    return ok("file system", f"{home} is on {kind}.")


def file_system(folder: Path) -> str:
    """Return the type of a folder's file system, as the kernel names it."""
    wanted = str(folder.resolve())
    best, kind = "", "an unknown file system"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        point = fields[1].replace("\\040", " ")
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _room(home: Path, there: Path) -> Finding:
    free = shutil.disk_usage(there).free
    if free < _GIB:
        return fail(
            "disk",
            f"{text.size(free)} free for {home}: jobs will fail to write their logs.",
            "free some space, or move BERTH_HOME",
        )
    if free < 20 * _GIB:
        return warn(
            "disk", f"{text.size(free)} free for {home}.", "free some space for logs in time"
        )
    return ok("disk", f"{text.size(free)} free for {home}.")


def _shared_memory() -> Finding:
    try:
        total = shutil.disk_usage(_SHM).total
    except OSError:
        return fail("shared memory", f"{_SHM} is missing: NCCL cannot start.", "mount tmpfs there")
    if total < _GIB:
        return warn(
            "shared memory",
            f"{_SHM} has {text.size(total)}: NCCL between GPUs and data loader workers need more.",
            f"in a container --ipc=host or --shm-size=16g; else mount -o remount,size=16g {_SHM}",
        )
    return ok("shared memory", f"{_SHM} has {text.size(total)}.")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        return warn(
            "open files",
            f"A process may open {soft} files: many data loader workers need more.",
            f"ulimit -n {min(hard, 65536)} before `berth up`, or LimitNOFILE= under systemd",
        )
    return ok("open files", f"A process may open {soft} files.")
