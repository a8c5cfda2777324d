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
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth import jobfiles, snapshots
from berth.protocol.attempts import CodeSnapshot
from berth.protocol.message import Message, quoted
from berth_server.core.explain.phrases import Piece
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid, Unavailable
from berth_server.service.jobs import as_caller
from berth_server.store.database import Reader

_TIMEOUT_S = 60.0
_LEFT_OUT = (quoted("snapshot"), ".")
_FACTS_BYTES = 8 << 20
_DIFF_BYTES = 64 << 20
_BESIDE_BYTES = 64 << 20


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
            facts = _facts(part, caller)
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
        done = as_caller.run(
            snapshots.CAPTURE,
            [workdir, str(self.most_bytes), *flags],
            caller,
            output=output,
            timeout_s=_TIMEOUT_S,
            # Names and headers come to the files; whatever runs in git's name writes no more.
            most_bytes=2 * self.most_bytes + _BESIDE_BYTES,
        )
        if done is None:
            raise _wrong(
                f"git did not answer within {_TIMEOUT_S:g} seconds in {workdir}; is it on a network "
                "disk that hangs?"
            )
        code, said = done
        if code == 0:
            return
        if code == snapshots.REFUSED and said:
            raise _wrong(" ".join(said.split()))
        last = said.splitlines()[-1] if said else f"exit code {code}"
        raise _wrong(f"The code in {workdir} could not be frozen ({last}); leave out ", *_LEFT_OUT)


def diff_of(archive: Path, owner: Caller) -> bytes:
    """Return the difference to the commit. Blocks. Raises Unavailable."""
    found = _member(archive, snapshots.DIFF, _DIFF_BYTES, owner)
    if found is None:
        raise Unavailable("The difference cannot be read; download the archive, which holds it.")
    return found


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


def _facts(archive: Path, owner: Caller) -> dict[str, Any]:
    # Names of files need not be text; and a user's own program wrote it.
    raw = _member(archive, snapshots.FACTS, _FACTS_BYTES, owner)
    found = jobfiles.json_object(raw or b"", _FACTS_BYTES)
    if found is None:
        raise _wrong("The code's list of files could not be read; leave out 'snapshot'.")
    return found


def _member(archive: Path, name: str, most_bytes: int, owner: Caller) -> bytes | None:
    """Return a member of an archive; None where it has none that can be read within limits."""
    with archive.open("rb") as file, tempfile.TemporaryFile() as found:
        done = as_caller.run(
            snapshots.MEMBER,
            [name, str(most_bytes)],
            owner,
            given=file.fileno(),
            output=found.fileno(),
            timeout_s=_TIMEOUT_S,
            most_bytes=most_bytes,
        )
        if done is None or done[0] != 0:
            return None
        found.seek(0)
        return found.read(most_bytes)


def _wrong(*pieces: Piece) -> Invalid:
    return Invalid(Message.of(*pieces), "snapshot")
