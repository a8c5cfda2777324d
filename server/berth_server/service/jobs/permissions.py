"""File permissions of another user, from owner, group and mode."""

from __future__ import annotations

import os
import pwd
import stat
import time
from pathlib import Path
from typing import Literal

from berth.protocol.message import Message

_REMEMBERED_S = 2.0
Found = Literal["there", "missing", "forbidden", "unknown"]


class Access:
    """
    File permissions of one user, as far as the server can determine them.

    For the server's own user the kernel is asked. For others the mode bits along the path are
    read; where an access control list or a network server has the last word the answer is yes,
    and the start of the job decides.
    """

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._own = uid in {0, os.geteuid()}
        self._groups: frozenset[int] | None = None
        self.fine_folders: set[str] = set()
        """Folders that were looked at and may be entered."""
        self.fine_pythons: set[str] = set()
        """Interpreters and environments that were looked at and may be executed."""
        self.fine_scripts: set[str] = set()
        """Scripts that were looked at and may be read: folder, NUL, path."""
        self.programs: dict[str, Message | None] = {}
        """Programs that were looked for, with the note on one that was not found."""
        self.code_notes: dict[str, str | None] = {}
        """Notes on the code of such scripts."""

    def find(self, path: str) -> Found:
        """Return what a path is to the user: there, missing, forbidden or unknown."""
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
        """Return True if the user may read (os.R_OK), or enter or execute (os.X_OK) the path."""
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


class Accesses:
    """
    Cache of recent checks by user: a stream of submits checks the same folder once in a while.

    What is found is never older than `_REMEMBERED_S` when it is relied on.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Access]] = {}

    def of(self, uid: int) -> Access:
        """The permissions of a user, with what was looked at in the last moments."""
        now = time.monotonic()
        made_at, access = self._known.get(uid, (-_REMEMBERED_S, None))
        if access is None or now - made_at >= _REMEMBERED_S:
            access = Access(uid)
            self._known = {u: k for u, k in self._known.items() if now - k[0] < _REMEMBERED_S}
            self._known[uid] = (now, access)
        return access


def is_folder(path: Path) -> bool:
    """Return whether a path leads to a folder. Unlike `Path.is_dir`, it never raises."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _has_list(path: Path) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False
