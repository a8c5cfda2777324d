"""
Program that answers questions about a user's files, as that user and within limits.

`python -I -S user_files.py UID GID GROUPS QUESTION ARGUMENT…` prints `yes` or `no`, or the text of a
file (`text PATH MOST_BYTES`), and exits with 1 where there is none. Standard
library only: everything it needs is loaded before it becomes the user, whose home may be the only
place that the user may read.
"""

from __future__ import annotations

import fnmatch
import os
import resource
import stat
import sys
import tarfile

_MEMORY_BYTES = 512 << 20
_CPU_S = 5
_HEADER_BYTES = 4 << 20
_ENVIRONMENTS = ("lib", "lib64")
_BELOW = "site-packages/torch/include/c10/cuda/CUDAAllocatorConfig.h"


def torch_names(environment: str, option: str) -> bool:
    """Return whether the torch of an environment names an option in its headers."""
    for folder in (f"{environment}/{name}" for name in _ENVIRONMENTS):
        try:
            versions = fnmatch.filter(os.listdir(folder), "python3*")  # noqa: PTH208 - few imports
        except OSError:
            continue
        for version in versions:
            header = _content(f"{folder}/{version}/{_BELOW}")
            if header:
                return f'"{option}"'.encode() in header
    return False


def tar_holds(archive: str, name: str) -> bool:
    """Return whether an archive holds a member of this name. Raises OSError, TarError."""
    with open(archive, "rb", buffering=0, opener=_open) as file, tarfile.open(fileobj=file) as tar:
        return any(member.name == name for member in tar)


def text(path: str, most_bytes: int) -> bytes | None:
    """Return the content of a regular file of at most so many bytes; None for anything else."""
    try:
        with open(path, "rb", buffering=0, opener=_open) as file:
            found = file.read(most_bytes + 1)
    except OSError:
        return None
    return found if len(found) <= most_bytes else None


def _open(path: str, _flags: int) -> int:
    """Open a regular file for reading, without waiting for it."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(f"{path} is no file")


def _content(path: str) -> bytes:
    try:
        handle = _open(path, 0)
    except OSError:
        return b""
    try:
        return os.pread(handle, _HEADER_BYTES, 0)
    except OSError:
        return b""
    finally:
        os.close(handle)


def _become(uid: int, gid: int, groups: list[int]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0 and uid != 0:
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)


def main(words: list[str]) -> int:
    """Answer one question."""
    uid, gid, groups, question, *arguments = words
    answers = {"torch-names": torch_names, "tar-holds": tar_holds}
    _become(int(uid), int(gid), [int(group) for group in groups.split(",") if group])
    if question == "text":
        found = text(arguments[0], int(arguments[1]))
        if found is None:
            return 1
        sys.stdout.buffer.write(found)
        return 0
    print("yes" if answers[question](*arguments) else "no")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
