"""Questions about a user's files, answered by a process of that user with limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from berth_worker.launch import user_files
from berth_worker.launch.account import Account

_PROGRAM = str(Path(user_files.__file__))
_WITHIN_S = 10.0


def ask(who: Account, question: str, *arguments: str) -> bool | None:
    """
    Return the answer of `user_files` to a question; None when there was none in time.

    The worker may be root: on a user's path it would read what the user may not, wait for a pipe,
    or fill its memory.
    """
    return {b"yes\n": True, b"no\n": False}.get(_answer(who, question, *arguments) or b"")


def text(who: Account, path: str, most_bytes: int) -> str | None:
    """Return the text of a user's file as that user reads it; None where it cannot be read."""
    found = _answer(who, "text", path, str(most_bytes))
    return None if found is None else found.decode("utf-8", "replace")


def _answer(who: Account, question: str, *arguments: str) -> bytes | None:
    """Return what the program prints; None when it did not succeed in time."""
    groups = ",".join(map(str, who.groups))
    words = [sys.executable, "-I", "-S", _PROGRAM, str(who.uid), str(who.gid), groups]
    try:
        process = subprocess.Popen(
            [*words, question, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        answer, _ = process.communicate(timeout=_WITHIN_S)
    except subprocess.TimeoutExpired:
        # Not waited for: on a dead network disk not even a kill ends it at once.
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        return None
    return answer if process.returncode == 0 else None
