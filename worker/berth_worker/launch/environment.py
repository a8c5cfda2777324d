"""Environment variables of a job; the table is in docs/launching.md."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from berth_worker.launch.account import Account
from berth_worker.launch.error import LaunchError
from berth_worker.launch.interpreter import Interpreter

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The daemon's own variables that jobs must not inherit: they would set a rendezvous, rights or
# secrets by where the daemon was started.
_DROPPED = frozenset(
    [
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "NVIDIA_VISIBLE_DEVICES",
        "MASTER_ADDR",
        "MASTER_PORT",
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "ROLE_RANK",
        "NODE_RANK",
        "PYTHONHOME",
        "PYTHONEXECUTABLE",
        "__PYVENV_LAUNCHER__",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "CONDA_PREFIX",
        "CONDA_DEFAULT_ENV",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "MAINPID",
        "MANAGERPID",
        "OLDPWD",
        "PWD",
        "SHLVL",
        "_",
        "TERM",
        "DISPLAY",
        "TMUX",
        "TMUX_PANE",
        "STY",
        "SUDO_COMMAND",
        "SUDO_USER",
        "SUDO_UID",
        "SUDO_GID",
        "XDG_SESSION_ID",
        "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
        "SSH_AUTH_SOCK",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "SSH_TTY",
    ]
)
_DROPPED_PREFIXES = ("BERTH_", "PET_", "TORCHELASTIC_", "SLURM_", "OMPI_", "PMI_")
# The part of root's environment that another user's job gets: the set-up of the box alone.
_SHARED = frozenset(
    [
        "PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "LD_LIBRARY_PATH",
        "LIBRARY_PATH",
        "CPATH",
        "CUDA_HOME",
        "CUDA_PATH",
        "NVIDIA_DRIVER_CAPABILITIES",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "ftp_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "FTP_PROXY",
        "ALL_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
    ]
)


def base(own: Mapping[str, str], account: Account) -> dict[str, str]:
    """Return the environment that a job starts from, before its user's own variables."""
    if account.is_ours:
        kept = {
            name: value
            for name, value in own.items()
            if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)
        }
    else:
        kept = {n: v for n, v in own.items() if n in _SHARED or n.startswith("LC_")}
    return kept | {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "PATH": own.get("PATH") or _DEFAULT_PATH,
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
