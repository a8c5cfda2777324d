"""The probe finds out which fence is possible by trying it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import berth
import berth_worker
from berth.protocol.states import FenceKind
from berth_worker.fence import APPLY, probe

_PROBE = """
import dataclasses, json, sys
from berth_worker.fence import APPLY, probe
print(json.dumps(dataclasses.asdict(probe())))
"""
# In a user namespace of its own in which no further one may be made, as on a hardened box. What
# it needs is loaded before it becomes a user who may not read the packages.
_HARDENED = """
import ctypes, dataclasses, json, os, subprocess, sys
from pathlib import Path
import berth_worker.fence
module = sys.modules["berth_worker.fence.probe"]
sys.executable, module.APPLY = sys.argv[1], Path(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())
print("unshared", flush=True)
sys.stdin.readline()
open("/proc/sys/user/max_user_namespaces", "w").write(sys.argv[3])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(json.dumps(dataclasses.asdict(module.probe())))
"""


def environment() -> dict[str, str]:
    """Find the packages without the virtual environment's start-up files."""
    roots = {str(Path(package.__file__).parent.parent) for package in (berth, berth_worker)}
    site = Path(pytest.__file__).parent.parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*sorted(roots), str(site)])}


def test_as_the_present_user():
    """Root needs no user namespace, others do; the kind says what was possible."""
    fence = probe()

    assert fence.kind == (FenceKind.NAMESPACE if fence.can_mask else FenceKind.ADVISORY)
    assert fence.sentence.startswith(fence.kind.value)
    root = os.geteuid() == 0
    assert fence.user_namespace == (fence.can_mask and not root)
    assert bool(fence.drop_capabilities) == (fence.can_mask and root)


def test_simulated_gpus_are_fenced_by_advice():
    """With simulated GPUs `advisory` is reported, and masking is still used where it works."""
    fence = probe(simulated=True)

    assert fence.kind == FenceKind.ADVISORY
    assert fence.can_mask == probe().can_mask
    assert fence.simulated


def test_root_without_the_right_to_mount(fenced, as_root):
    """A root that may not make mount namespaces (a plain container) learns what is missing."""
    seen = fenced(
        f"""
environment = {environment()!r}
out = subprocess.run([{sys.executable!r}, "-c", {_PROBE!r}], env=environment,
                     capture_output=True, text=True)
tell(out=out.stdout, err=out.stderr)
""",
        "/dev/zero",
        drop_capabilities=(21,),
    )

    assert seen["err"] == ""
    fence = json.loads(seen["out"])
    assert fence["kind"] == "advisory"
    assert fence["can_mask"] is False
    assert "--cap-add SYS_ADMIN" in fence["sentence"]


@pytest.mark.parametrize(("allowed", "kind"), [("0", "advisory"), ("9", "namespace")])
def test_a_user_without_user_namespaces(as_root, anyones_python, open_folder, allowed, kind):
    """
    An ordinary user on a box that refuses user namespaces learns how to allow them; on one
    that allows them there is a fence.
    """
    apply = open_folder / "apply.py"
    apply.write_bytes(APPLY.read_bytes())
    apply.chmod(0o644)
    with subprocess.Popen(
        [sys.executable, "-c", _HARDENED, anyones_python, str(apply), allowed],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as child:
        assert child.stdout.readline() == "unshared\n"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child.pid}/{name}").write_text("0 0 1\n65534 65534 1\n")
        out, _ = child.communicate("go\n", timeout=60)

    fence = json.loads(out)
    assert fence["kind"] == kind
    assert ("kernel.unprivileged_userns_clone" in fence["sentence"]) == (kind == "advisory")
