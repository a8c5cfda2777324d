"""
Entry into a fence: runs in the process that is about to become the job, between fork and exec.

Standard library only, Python 3.8, no imports from Berth: the shim loads this file by its path
(`python -I -S` knows no packages). `enter()` is the only entry point.

It cannot confine root: a job that runs as root and wants out finds a way. The fence stops programs
that recount GPUs, not attackers.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522


def enter(
    masks: Iterable[str], *, user_namespace: bool = False, drop_capabilities: Iterable[int] = ()
) -> None:
    """
    Cover each path of `masks` with /dev/null for this process and its descendants.

    `user_namespace`: without privileges, through a user namespace that maps the caller to
    itself. `drop_capabilities`: numbers taken out of the bounding set, so that a job of
    root's cannot uncover them; they are gone after the exec. Paths that do not exist are
    passed over; without masks nothing happens. Raises OSError with a sentence; nothing
    outside this process has changed then. The caller must have one thread. Call it before
    giving up root.
    """
    masks = list(masks)
    if not masks:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS | (_CLONE_NEWUSER if user_namespace else 0)
    _check(libc.unshare(ctypes.c_int(flags)), "a mount namespace of its own is refused")
    if user_namespace:
        _map_to_self(uid, gid)
    # Slave, not private: home folders that are mounted later still appear in the job.
    _mount(libc, None, "/", _MS_REC | _MS_SLAVE, "the mounts cannot be separated")
    for path in masks:
        if os.path.exists(path):  # noqa: PTH110 - pathlib's import is time in every start
            _mount(libc, "/dev/null", path, _MS_BIND, f"{path} cannot be covered")
    _drop(libc, drop_capabilities)


def _map_to_self(uid: int, gid: int) -> None:
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - as above
            file.write(line)


def _drop(libc: ctypes.CDLL, numbers: Iterable[int]) -> None:
    """Take capabilities out of what an exec may give back: the bounding and inheritable sets."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Twice (effective, permitted, inheritable): the lower and the upper 32 numbers.
    sets = (ctypes.c_uint32 * 6)()
    _check(libc.capget(header, sets), "the capabilities cannot be read")
    for number in numbers:
        if libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) == 1:
            status = libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0)
            _check(status, f"capability {number} cannot be given up")
        upper, bit = divmod(number, 32)
        sets[3 * upper + 2] &= ~(1 << bit)
    _check(libc.capset(header, sets), "the capabilities cannot be given up")


def _mount(libc: ctypes.CDLL, source: str | None, target: str, flags: int, what: str) -> None:
    encoded = None if source is None else os.fsencode(source)
    _check(libc.mount(encoded, os.fsencode(target), None, ctypes.c_ulong(flags), None), what)


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"The fence cannot be put up: {what} ({os.strerror(number)}).")
