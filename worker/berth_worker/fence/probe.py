"""Probe of the fence that is possible here: tries one in a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth.protocol.gpus import GpuSnapshot
from berth.protocol.states import FenceKind
from berth_worker.fence import masks
from berth_worker.fence.masks import HasUuid

APPLY = Path(__file__).with_name("apply.py")
"""The file that the shim loads to enter a fence."""

# linux/capability.h. With these a job of root's could take the covers off (SYS_ADMIN), make
# device files of its own (MKNOD), go through another process's root (SYS_PTRACE), open files
# by handle under the covers (DAC_READ_SEARCH), or reach the hardware directly.
_DROPPED = {
    "DAC_READ_SEARCH": 2,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "MKNOD": 27,
    "BPF": 39,
}
_PROBE_TIMEOUT_S = 20
_PROBE = """
import os, runpy, sys
enter = runpy.run_path(sys.argv[1])["enter"]
target = sys.argv[2]
enter([target], user_namespace=sys.argv[3] == "1", drop_capabilities=())
sys.exit(0 if os.stat(target).st_rdev == os.stat("/dev/null").st_rdev else 1)
"""


@dataclass(frozen=True, slots=True)
class Fence:
    """The fence that attempts get."""

    kind: FenceKind
    """The kind promised to users. With simulated GPUs always `advisory`."""
    can_mask: bool
    """True when device files can be masked."""
    user_namespace: bool
    """True when masking needs a user namespace, because the worker is not root."""
    drop_capabilities: tuple[int, ...]
    """Capability numbers that a job loses so that it cannot undo the masks."""
    simulated: bool
    """Attempts hold simulated GPUs: every real one is masked."""
    sentence: str
    """The reason for this kind and the way to a stronger one, for people."""

    def masks(self, leased: Iterable[HasUuid], all_gpus: Sequence[GpuSnapshot]) -> list[str]:
        """Return the paths to cover with /dev/null for an attempt; empty where masking is impossible."""
        if not self.can_mask:
            return []
        return masks.every() if self.simulated else masks.others(leased, all_gpus)


def probe(*, simulated: bool = False) -> Fence:
    """Find out which fence is possible, once at start (about 50 ms). Never raises."""
    root = os.geteuid() == 0
    problem = _try(user_namespace=not root)
    can_mask = problem is None
    if simulated:
        kind = FenceKind.ADVISORY
        sentence = "advisory: the GPUs are simulated" + (
            "; real ones are hidden from jobs." if can_mask else "."
        )
    elif can_mask:
        kind = FenceKind.NAMESPACE
        sentence = "namespace: a job sees no device file of a GPU that is not its own."
    else:
        kind = FenceKind.ADVISORY
        sentence = f"advisory: {problem}"
    return Fence(
        kind=kind,
        can_mask=can_mask,
        user_namespace=can_mask and not root,
        drop_capabilities=tuple(_DROPPED.values()) if can_mask and root else (),
        simulated=simulated,
        sentence=sentence,
    )


def _try(*, user_namespace: bool) -> str | None:
    """Mask a harmless device in a child process; return a sentence if that fails, else None."""
    command = [sys.executable, "-I", "-S", "-c", _PROBE]
    try:
        child = subprocess.run(
            [*command, str(APPLY), "/dev/zero", "1" if user_namespace else "0"],
            capture_output=True,
            check=False,
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"the fence could not be tested ({error})."
    if child.returncode == 0:
        return None
    if user_namespace:
        return (
            "unprivileged user namespaces are switched off here; allow them (sysctl "
            "kernel.unprivileged_userns_clone=1, user.max_user_namespaces, or on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0) or run the worker as root."
        )
    return (
        "this root may not make mount namespaces; give the worker CAP_SYS_ADMIN (in a "
        "container: --cap-add SYS_ADMIN, and an AppArmor profile that allows mount)."
    )
