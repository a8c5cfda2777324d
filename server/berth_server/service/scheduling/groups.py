"""Groups: the one that a user counts for, where limits are set for groups."""

from __future__ import annotations

import grp
import pwd

from berth_server.core.settings import PolicySettings
from berth_server.service.ttl_cache import TtlCache


class Groups:
    """
    The group of each user: the first, by name, of the groups that the settings name and the
    user belongs to; else the user's primary group. Membership is known at most a minute late.
    """

    def __init__(self, settings: PolicySettings) -> None:
        named = set(settings.limits_by_group)
        for rule in settings.calendar:
            named |= rule.groups
        self._named = sorted(named)
        self._groups = TtlCache(self._find)
        self._members = TtlCache(self._is_in)

    def of(self, user: str) -> str | None:
        """The group's name; None for a user without an account."""
        return self._groups(user)

    def has(self, group: str, user: str) -> bool:
        """True if a user belongs to a group."""
        return self._members((group, user))

    @staticmethod
    def knows(group: str) -> bool:
        """True if there is such a group."""
        try:
            grp.getgrnam(group)
        except KeyError:
            return False
        return True

    @staticmethod
    def knows_user(user: str) -> bool:
        """True if there is an account of this name."""
        try:
            pwd.getpwnam(user)
        except KeyError:
            return False
        return True

    @staticmethod
    def _is_in(pair: tuple[str, str]) -> bool:
        group, user = pair
        try:
            found, account = grp.getgrnam(group), pwd.getpwnam(user)
        except KeyError:
            return False
        return user in found.gr_mem or found.gr_gid == account.pw_gid

    def _find(self, user: str) -> str | None:
        try:
            primary = pwd.getpwnam(user).pw_gid
        except KeyError:
            return None
        for name in self._named:
            if self._is_in((name, user)):
                return name
        try:
            return grp.getgrgid(primary).gr_name
        except KeyError:
            return None
