"""Which group a user counts for, where limits are set for groups."""

from __future__ import annotations

import grp
import pwd

from berth_server.core.settings import PolicySettings


class Groups:
    """
    The group of each user: the first, by name, of the groups that the settings name and the
    user belongs to; else the user's primary group. Asked once per user and start.
    """

    def __init__(self, settings: PolicySettings) -> None:
        named = set(settings.limits_by_group)
        for rule in settings.calendar:
            named |= rule.groups
        self._named = sorted(named)
        self._known: dict[str, str | None] = {}

    def of(self, user: str) -> str | None:
        """The group's name; None for a user without an account."""
        if user not in self._known:
            self._known[user] = self._find(user)
        return self._known[user]

    def _find(self, user: str) -> str | None:
        try:
            primary = pwd.getpwnam(user).pw_gid
        except KeyError:
            return None
        for name in self._named:
            try:
                group = grp.getgrnam(name)
            except KeyError:
                continue
            if user in group.gr_mem or group.gr_gid == primary:
                return name
        try:
            return grp.getgrgid(primary).gr_name
        except KeyError:
            return None
