"""
Freezing the code of a job at submit.

The server may be root, and a repository's owner can have git run anything: so a program of the
submitting user's own (`berth.snapshots`) reads the work tree, and writes the archive through a
file that the server has opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth import jobfiles, snapshots
from berth.protocol.jobs import CodeSnapshot
from berth.protocol.message import Message, quoted
from berth_server.core.explain.phrases import Piece
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid, Unavailable
from berth_server.store.database import Reader

_TIMEOUT_S = 60.0
_LEFT_OUT = (quoted("snapshot"), ".")
_FACTS_BYTES = 8 << 20
# What git may need of the server's environment: where its programs and the system's settings lie.
_PASSED = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Freezer:
    """Makes archives under one folder; each is named by its content."""

    folder: Path
    most_bytes: int

    def freeze(self, workdir: str, caller: Caller) -> CodeSnapshot:
        """
        Archive the git work tree around a folder as it is, as the caller. Blocks: run it on a
        thread. Raises Invalid with the field and one sentence.
        """
        self.folder.mkdir(mode=0o711, exist_ok=True)
        part = self.folder / f"{secrets.token_hex(8)}.part"
        try:
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            with os.fdopen(handle, "w+b") as file:
                self._run(workdir, caller, file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(handle)
                if os.geteuid() == 0:
                    os.fchown(handle, caller.uid, -1)
            facts = _facts(part)
            # The same content under another user's name is another file, readable by that user alone.
            part.rename(self.path(digest, caller.uid))
        except OSError as error:
            raise Unavailable(
                f"The code could not be stored ({error.strerror}); check the disk of BERTH_HOME."
            ) from None
        finally:
            part.unlink(missing_ok=True)
        return CodeSnapshot(digest=digest, **facts)

    def check(self, workdir: str, caller: Caller) -> None:
        """Raise Invalid where `freeze` would; stores nothing. Blocks."""
        with Path(os.devnull).open("wb") as nowhere:
            self._run(workdir, caller, nowhere.fileno(), "--measure")

    def path(self, digest: str, uid: int) -> Path:
        """Return the path of an archive."""
        return self.folder / f"{uid if os.geteuid() == 0 else os.geteuid()}-{digest}.tar"

    def sweep(self, reader: Reader) -> None:
        """Remove archives that no job names: of refused submits. Only while none is under way."""
        if not self.folder.is_dir():
            return
        rows = reader.all("SELECT DISTINCT snapshot, uid FROM jobs WHERE snapshot IS NOT NULL")
        kept = {self.path(json.loads(snapshot)["digest"], uid) for snapshot, uid in rows}
        for found in self.folder.iterdir():
            if found not in kept and found.suffix in {".tar", ".part"}:
                found.unlink(missing_ok=True)

    def _run(self, workdir: str, caller: Caller, output: int, *flags: str) -> None:
        # As text: Berth's own files need not be readable by all users.
        program = snapshots.CAPTURE.read_text(encoding="utf-8")
        command = [str(Path(sys.executable).resolve()), "-I", "-S", "-c", program, workdir]
        try:
            done = subprocess.run(
                [*command, str(self.most_bytes), *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                timeout=_TIMEOUT_S,
                check=False,
                cwd="/",
                start_new_session=True,
                **_as(caller),
            )
        except PermissionError:
            raise _wrong(
                f"{caller.user} may not run Berth's own Python {command[0]}, so code cannot be "
                "frozen; ask an admin to install Berth where all users may run it, or leave out ",
                *_LEFT_OUT,
            ) from None
        except subprocess.TimeoutExpired:
            raise _wrong(
                f"git did not answer within {_TIMEOUT_S:g} seconds in {workdir}; is it on a network "
                "disk that hangs?"
            ) from None
        if done.returncode == 0:
            return
        said = done.stderr.decode("utf-8", "replace").strip()
        if done.returncode == snapshots.REFUSED and said:
            raise _wrong(" ".join(said.split()))
        last = said.splitlines()[-1] if said else f"exit code {done.returncode}"
        raise _wrong(f"The code in {workdir} could not be frozen ({last}); leave out ", *_LEFT_OUT)


def diff_of(archive: Path) -> bytes:
    """Return the difference to the commit. Blocks."""
    with tarfile.open(archive) as tar:
        source = tar.extractfile(snapshots.DIFF)
        assert source is not None
        return source.read()


def pieces(archive: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """The whole archive. Blocks."""
    with archive.open("rb") as file:
        while piece := file.read(size):
            yield piece


def outside(words: Sequence[str], frozen: CodeSnapshot) -> list[Message]:
    """Return warnings of paths of a command that lead back to the work tree."""
    named = [word for word in words if word.startswith(f"{frozen.root}/")]
    return [
        Message.of(
            f"{word} is named by its whole path, so the job takes it from the work tree and not "
            "from the snapshot; write it relative to ",
            quoted("workdir"),
            ".",
        )
        for word in named
        if word[len(frozen.root) + 1 :].split("/")[0] not in frozen.linked
    ]


def _facts(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        source = tar.extractfile(snapshots.FACTS)
        assert source is not None
        # Names of files need not be text; and a user's own program wrote it.
        found = jobfiles.json_object(source.read(_FACTS_BYTES), _FACTS_BYTES)
    if found is None:
        raise _wrong("The code's list of files could not be read; leave out 'snapshot'.")
    return found


def _as(caller: Caller) -> dict[str, Any]:
    """Return options that run a program as the job will run: as the caller, if the server may."""
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    uid = caller.uid if os.geteuid() == 0 else os.geteuid()
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        own = {"HOME": os.environ.get("HOME", "/")} if uid == os.geteuid() else {}
        if not own:
            raise _wrong("You have no account on this box, so your code cannot be read.") from None
        return {"env": environment | own}
    environment |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    if uid == os.geteuid():
        return {"env": environment}
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {
        "env": environment,
        "user": uid,
        "group": account.pw_gid,
        "extra_groups": groups,
        "umask": 0o077,
    }


def _wrong(*pieces: Piece) -> Invalid:
    return Invalid(Message.of(*pieces), "snapshot")
