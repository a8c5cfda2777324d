"""Identity of the user who sends a request."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import Literal

from berth_server.service.errors import Forbidden
from berth_server.service.ttl_cache import TtlCache
from berth_server.store.records import JobRecord


@dataclass(slots=True, frozen=True)
class Caller:
    """A user of the box, identified."""

    uid: int
    user: str
    via: Literal["socket", "token", "cookie", "proxy"] = "socket"

    @property
    def admin(self) -> bool:
        """True for root and the server's own user, who may change every job."""
        return self.uid in {0, os.getuid()}

    def may_change(self, job: JobRecord) -> None:
        """Raise Forbidden unless the job is the caller's own or the caller an admin."""
        if job.uid != self.uid and not self.admin:
            raise Forbidden(
                f"Job {job.id} belongs to {job.user}; ask {job.user} or an admin to change it."
            )

    def may_read_code(self, job: JobRecord) -> None:
        """Raise Forbidden unless the job is the caller's own or the caller an admin."""
        if job.uid != self.uid and not self.admin:
            raise Forbidden(f"The code of job {job.id} is {job.user}'s own; ask {job.user} for it.")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


_names = TtlCache(_name_of)


def user_name(uid: int) -> str:
    """The name of a user, at most a minute old; `uid 1234` for one without an account."""
    return _names(uid)


def home_of(uid: int) -> str | None:
    """A user's home folder, if they have an account."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return None
