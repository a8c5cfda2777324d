"""Programs that run inside a fence and tell what they see."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from berth_worker.fence import APPLY, probe

NOBODY = 65534

# Enters the fence as the shim does, then becomes the program given as the last argument.
_START = """
import json, os, sys
order = json.loads(sys.argv[1])
apply = {}
exec(order["apply"], apply)
apply["enter"](order["masks"], user_namespace=order["user_namespace"],
               drop_capabilities=order["drop_capabilities"])
if order["become"]:
    uid, gid, groups = order["become"]
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[2]])
"""
_TOLD = """
import ctypes, errno, json, os, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def covered(path):
    return os.stat(path).st_rdev == os.stat("/dev/null").st_rdev
def name(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def umount(path):
    if libc.umount2(path.encode(), 0):
        raise OSError(ctypes.get_errno(), "umount2")
def capabilities():
    lines = open("/proc/self/status").read().splitlines()
    return {l.split(":")[0]: int(l.split()[1], 16) for l in lines if l.startswith("Cap")}
def tell(**facts):
    print(json.dumps(facts))
"""


@pytest.fixture
def fenced(anyones_python: str) -> Callable[..., dict[str, Any]]:
    """Run a program inside a fence; what it passes to `tell` comes back."""

    def run(
        program: str,
        *masks: str,
        user_namespace: bool = False,
        drop_capabilities: tuple[int, ...] = (),
        become: tuple[int, int, list[int]] | None = None,
        user: int | None = None,
        wrapper: tuple[list[str], str] | None = None,
    ) -> dict[str, Any]:
        order = {
            "apply": APPLY.read_text(),
            "masks": masks,
            "user_namespace": user_namespace,
            "drop_capabilities": drop_capabilities,
            "become": become,
        }
        as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        arguments = [_START, json.dumps(order), _TOLD + program]
        command = [anyones_python, "-I", "-S", "-c", *arguments]
        if wrapper is not None:
            before, after = wrapper
            command = [*before, *arguments, after]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
            **as_user,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def as_root() -> None:
    """Root that may make mount namespaces, else the test has nothing to try."""
    if os.geteuid() != 0 or not probe().can_mask:
        pytest.skip("needs root that may make mount namespaces")


@pytest.fixture
def other_user() -> int | None:
    """The uid of an unprivileged user to run as; None: we are one. Needs user namespaces."""
    user = NOBODY if os.geteuid() == 0 else None
    as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    unshare = shutil.which("unshare")
    done = subprocess.run([unshare, "-U", "-m", "true"], capture_output=True, **as_user)
    if done.returncode != 0:
        pytest.skip("unprivileged user namespaces are switched off on this box")
    return user


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may read (pytest's own is private)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
