"""
Opening files of run directories that jobs write to.

The server may be root: a user could put a link to anything in a log's place. So only regular
files with one name that belong to the job's user or to the server are read, and links are not
followed.
"""

from __future__ import annotations

import os

from berth import jobfiles
from berth_server.service.errors import Forbidden

LOG_NAME = "output.log"


def open_run_file(run_dir: str, name: str, uid: int) -> int | None:
    """
    Open the log or another file that a job wrote, for reading; None when it is not there (yet).

    Raises Forbidden when something else than the job's own file lies in its place.
    """
    owners = {uid, os.geteuid(), 0}
    try:
        if name != LOG_NAME:
            return jobfiles.open_written(run_dir, name, owners)
        # The log lies where the job may write to it, but not put another file in its place.
        folder = jobfiles.open_folder(run_dir)
        if folder is None:
            return None
        try:
            return jobfiles.open_file(folder, name, owners)
        finally:
            os.close(folder)
    except jobfiles.NotOwnFileError:
        raise Forbidden(
            f"{name} of this attempt is not the job's own file, so it is not shown."
        ) from None
