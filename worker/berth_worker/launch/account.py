"""The user account that a job runs as."""

from __future__ import annotations

import os
import pwd
import time
from dataclasses import dataclass
from functools import lru_cache

from berth_worker.launch.error import LaunchError

_FRESH_S = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the box."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str


def account(uid: int | None) -> Account:
    """
    Return the account that a job of `uid` runs as: its own if the worker is root, else the worker's.

    Raises LaunchError for a user that the box does not know.
    """
    own = os.geteuid()
    wanted = own if uid is None or own != 0 else uid
    try:
        entry = _entry(wanted, int(time.monotonic() / _FRESH_S))
    except KeyError:
        if wanted != own:
            raise LaunchError(
                f"User id {wanted} has no account on this box; ask its administrator for one."
            ) from None
        # In a container the worker's own user may have no name.
        home = os.environ.get("HOME", "/")
        return Account(own, os.getegid(), tuple(os.getgroups()), str(own), home, "/bin/sh")
    if wanted == own:
        groups = tuple(os.getgroups())
    else:
        groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(
        wanted, entry.pw_gid, groups, entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh"
    )


@lru_cache(maxsize=64)
def _entry(uid: int, _moment: int) -> pwd.struct_passwd:
    """Return a user's passwd entry, cached for 10 s: a directory service may be slow."""
    return pwd.getpwuid(uid)
