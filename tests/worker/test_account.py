"""As whom a job runs: the box is asked, not an old answer."""

from __future__ import annotations

import os
import pwd

import pytest

from berth_worker.launch import LaunchError
from berth_worker.launch.account import account

UID = 45678


@pytest.fixture
def box_of_root(monkeypatch):
    """Root's worker on a box whose users and groups the test sets; starts with none."""
    users: dict[int, pwd.struct_passwd] = {}
    groups: dict[str, list[int]] = {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwuid", users.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, *groups.get(name, ())])
    users[UID] = pwd.struct_passwd(("eve", "x", UID, UID, "", "/home/eve", "/bin/sh"))
    return users, groups


def test_a_group_that_was_taken_away_is_gone_from_the_next_start(box_of_root):
    """A user's entry is remembered for seconds; the groups, which give rights, never are."""
    _, groups = box_of_root
    groups["eve"] = [700]
    assert account(UID).groups == (UID, 700)

    groups["eve"] = []
    assert account(UID).groups == (UID,)
    groups["eve"] = [701]
    assert account(UID).groups == (UID, 701)


def test_a_user_who_was_just_added_can_run_jobs(box_of_root):
    """That there is no such user is not remembered."""
    users, _ = box_of_root
    with pytest.raises(LaunchError, match="has no account on this box"):
        account(UID + 1)

    users[UID + 1] = pwd.struct_passwd(("new", "x", UID + 1, 100, "", "/home/new", "/bin/sh"))
    assert account(UID + 1).name == "new"
