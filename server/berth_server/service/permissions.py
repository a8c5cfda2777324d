"""What another user may do with a path, told from its owner, group and mode."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import Literal

Found = Literal["there", "missing", "forbidden", "unknown"]


class Access:
    """
    The file permissions of one user, as the server can tell them.

    For the server's own user the kernel is asked. For others the mode bits along the path are
    read; where an access control list or a network server has the last word the answer is yes,
    and the start itself will tell.
    """

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._own = uid in {0, os.geteuid()}
        self._groups: frozenset[int] | None = None

    def look(self, path: str) -> Found:
        """Whether there is something at a path that the user can get to."""
        try:
            Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        except PermissionError:
            # Root is kept out by network servers only, and those may let the user in.
            return "unknown" if os.geteuid() == 0 else "forbidden"
        except (OSError, ValueError):
            return "unknown"
        return "there" if self._own or self._reaches(Path(path)) else "forbidden"

    def may(self, path: str, mode: int) -> bool:
        """Whether the user may read (os.R_OK) or enter or execute (os.X_OK) what is there."""
        if self._own:
            return os.access(path, mode)
        try:
            return self._allows(Path(path), mode)
        except PermissionError:
            return True
        except OSError:
            return False

    def _reaches(self, path: Path) -> bool:
        try:
            return all(self._allows(parent, os.X_OK) for parent in path.parents)
        except OSError:
            return True

    def _allows(self, path: Path, mode: int) -> bool:
        facts = path.stat()
        bits = stat.S_IMODE(facts.st_mode)
        if facts.st_uid == self._uid:
            granted = bits >> 6
        elif facts.st_gid in self._my_groups():
            granted = bits >> 3
        else:
            granted = bits
        return granted & mode == mode or _has_list(path)

    def _my_groups(self) -> frozenset[int]:
        if self._groups is None:
            try:
                account = pwd.getpwuid(self._uid)
                groups = os.getgrouplist(account.pw_name, account.pw_gid)
            except KeyError:
                groups = []
            self._groups = frozenset(groups)
        return self._groups


def _has_list(path: Path) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False
