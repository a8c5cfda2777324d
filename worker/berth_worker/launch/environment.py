"""Environment variables of a job; the table is in docs/launching.md."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from berth.inherited import handed_on
from berth_worker.launch.account import Account
from berth_worker.launch.error import LaunchError
from berth_worker.launch.interpreter import Interpreter

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base(own: Mapping[str, str], account: Account, more: Collection[str] = ()) -> dict[str, str]:
    """
    Return the environment that a job starts from, before its user's own variables.

    It is the same for every user: `own` is the worker's, of which the set-up of the box is
    handed on, and what `more` names.
    """
    found = handed_on(own, more)
    return found | {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "PATH": found.get("PATH") or _DEFAULT_PATH,
    }


def defaults(
    interpreter: Interpreter, caches: Path, gpus: int, box_gpus: int, *, simulated: bool
) -> dict[str, str]:
    """Return the defaults of variables, given the job's and the box's number of GPUs."""
    found = interpreter.variables() | {
        "PYTHONUNBUFFERED": "1",
        "TORCH_EXTENSIONS_DIR": str(caches / "torch_extensions"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
    }
    if gpus:
        # Each rank gets its share of the processors; torch would use them all in every rank.
        share = len(os.sched_getaffinity(0)) // max(1, box_gpus)
        found["OMP_NUM_THREADS"] = str(max(1, share))
    if simulated:
        found |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    return found


def with_interpreter(path: str, interpreter: Interpreter) -> str:
    """Return PATH with the environment's own programs first."""
    own = interpreter.bin_folder
    return ":".join([own, *(part for part in path.split(":") if part and part != own)])


def caches(home: Path, account: Account, interpreter: Interpreter) -> Path:
    """
    Return the folder for extensions compiled at run time, one per user and environment.

    It lies on the local disk of BERTH_HOME: compilers lock files there, and one environment cannot
    load what another one built. Made when missing. Raises LaunchError.
    """
    digest = hashlib.sha256(interpreter.path.encode()).hexdigest()[:12]
    folder = home / "cache" / f"{account.uid}-{digest}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, account.uid, account.gid)
    except OSError as error:
        raise LaunchError(
            f"The cache folder {folder} cannot be made: {error.strerror}; check the disk."
        ) from None
    return folder
