"""
The two folders of an attempt: the worker's own, and the one below it that the job may write to.

Everything is opened by descriptor. What the shim believes lies in the first; of the second it only
asks for the time of one file.
"""
# pathlib is left out: see files.py.
# ruff: noqa: PTH100, PTH119, PTH120, PTH208

from __future__ import annotations

import contextlib
import json
import os

from berth_worker.shim import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LAUNCH_BYTES = 64 << 20
_TERMS_BYTES = 4096
_BESIDE_BYTES = 8 << 20
_LONGEST_S = 30 * 86400.0
OF_THE_JOB = (
    *("metrics.jsonl", "progress.json", "saved.json", "failure.json"),
    *("links.json", "snapshot.json", "changes.diff"),
)
"""Files that jobs write: links beside Berth's own files lead readers to them."""
_FOR_THE_JOB = ("output.log", "stop.json")  # links in the job's folder lead it to these


class Folders:
    """The folders of one attempt, with its launch orders and its log."""

    def __init__(self, launch_path: str) -> None:
        """Open the run directory and read its launch.json. Raises OSError, ValueError."""
        path = os.path.abspath(launch_path)
        self.own = files.open_folder(os.path.dirname(path))
        """The run directory."""
        self.launch: dict[str, Any] = json.loads(
            files.read_small(self.own, os.path.basename(path), _LAUNCH_BYTES)
        )
        self.job = self.own
        """The folder that the job may write to; the same in a launch.json that names none."""
        self.log = -1

    def claim(self, me: dict[str, Any]) -> None:
        """Claim the attempt for this process. Raises AlreadyStartedError, OSError."""
        number = self.launch.get("slurm_job")
        files.claim(self.own, self.named(me if number is None else dict(me, slurm_job=number)))

    def named(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the content of one of our files with the attempt and its token."""
        return dict(content, attempt=self.launch["attempt"], token=self.launch.get("token"))

    def open_for_job(self) -> None:
        """
        Open the job's folder, and create its log. Raises OSError.

        Only here, before the job runs, is the log given to its user. It lies in the worker's
        folder: the job may write to it, also by its name, but put nothing else in its place.
        """
        name = self.launch.get("files")
        if name:
            self.job = files.open_folder(name, self.own)
        log = self.launch.get("log", "output.log")
        self.log = files.open_new(self.own, log, 0o644, os.O_APPEND)
        uid = self.launch.get("uid")
        if uid:
            os.fchown(self.log, uid, self.launch["gid"])

    def link(self) -> None:
        """
        Make the links that lead to each folder's files from the other one, where they can be made.

        Seven inodes: a job that is over at once, and has written nothing, gets none.
        """
        if self.job != self.own:
            link_files(self.own, self.job, self.launch["files"])

    def has_files(self) -> bool:
        """Return whether the job has put anything into its folder."""
        with contextlib.suppress(OSError):
            return self.job != self.own and bool(os.listdir(self.job))
        return False

    def close(self) -> None:
        """Close the folders and the log."""
        for fd in {self.own, self.job, self.log} - {-1}:
            os.close(fd)

    def append_to_log(self, sentence: str) -> None:
        """Append a sentence to the job's log, where its user looks."""
        if self.log >= 0:
            with contextlib.suppress(OSError):
                files.write_all(self.log, sentence.encode(errors="replace") + b"\n")

    def granted_limit_s(self) -> float | None:
        """Return the time limit that was granted after the start, seconds; None for no other."""
        try:
            granted = json.loads(files.read_small(self.own, "limit.json", _TERMS_BYTES))
            limit_s = granted["time_limit_s"]
            return float("inf") if limit_s is None else float(limit_s)
        except Exception:  # noqa: BLE001 - mostly there is none; a wrong one extends nothing
            return None

    def orders_beside(self, after: int) -> list[dict[str, Any]]:
        """Return the commands asked for beside the job, numbered above `after`, in order."""
        try:
            orders = json.loads(files.read_small(self.own, "beside.json", _BESIDE_BYTES))
            return sorted(
                (one for one in orders if one["number"] > after), key=lambda one: one["number"]
            )
        except Exception:  # noqa: BLE001 - there is none, or no space to write it
            return []

    def stop_terms_s(self) -> tuple[float, float]:
        """Return the requested grace and the time to save after a warning, both in seconds."""
        try:
            terms = json.loads(files.read_small(self.own, "stop.json", _TERMS_BYTES))
            grace_s, warn_s = float(terms["grace_s"]), float(terms.get("warn_s", 0.0))
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the job is to be stopped
            return float(self.launch["grace_s"]), 0.0
        # Comparisons with a number that is none are false: it counts as 0.
        grace_s, warn_s = (s if 0.0 < s < _LONGEST_S else 0.0 for s in (grace_s, warn_s))
        return grace_s, warn_s


def link_files(own: int, job: int, name_of_job: str) -> None:
    """
    Make the links that lead to each folder's files from the other one, where they can be made.

    A link is made or it is not; what the job has put there is not opened.
    """
    for name in _FOR_THE_JOB:
        _link(f"../{name}", name, job)
    for name in OF_THE_JOB:
        _link(f"{name_of_job}/{name}", name, own)


def _link(target: str, name: str, folder: int) -> None:
    with contextlib.suppress(OSError):
        os.symlink(target, name, dir_fd=folder)
