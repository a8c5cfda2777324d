"""
Safe opening of files in run directories, which belong to the jobs' users.

The server may be root: a user could put a link to anything in a log's place. So only regular
files with one name that belong to the job's user or to the server are read, and links are not
followed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from berth_server.service.errors import Forbidden


def open_run_file(run_dir: str, name: str, uid: int) -> int | None:
    """
    Open a file of a run directory for reading; return None when there is none (yet).

    Raises Forbidden when the file there is not the job's own regular file.
    """
    try:
        # Non-blocking: a named pipe would block the server.
        handle = os.open(
            Path(run_dir, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        raise Forbidden(
            f"{name} of this attempt cannot be read; check its run directory."
        ) from None
    facts = os.fstat(handle)
    own = facts.st_uid in {uid, os.geteuid(), 0}
    if not (stat.S_ISREG(facts.st_mode) and own and facts.st_nlink <= 1):
        os.close(handle)
        raise Forbidden(f"{name} of this attempt is not the job's own file, so it is not shown.")
    return handle
