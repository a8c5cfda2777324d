"""As whom a job runs."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass


class UnknownUserError(Exception):
    """The box does not know the user; the message names the mend."""


@dataclass(frozen=True, slots=True)
class JobUser:
    """A user of the box, complete enough to become."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @property
    def variables(self) -> dict[str, str]:
        """What the environment says about the user after a login."""
        return {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": self.shell or "/bin/sh",
        }


def job_user(uid: int) -> JobUser:
    """
    Look a user up, with all groups. May ask the network (LDAP): keep it off hot paths.

    Raises UnknownUserError.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise UnknownUserError(
            f"This box has no user with uid {uid}; create the account, or submit as another user."
        ) from None
    return JobUser(
        name=entry.pw_name,
        uid=uid,
        gid=entry.pw_gid,
        groups=tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)),
        home=entry.pw_dir,
        shell=entry.pw_shell,
    )
