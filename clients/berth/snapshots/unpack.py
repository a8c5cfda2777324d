"""
Unpacking of a job's frozen code, `unpack.py ARCHIVE DIGEST FOLDER SUBDIR COMMAND...`.

Unpacks the archive into FOLDER/tree, unless an earlier attempt of the job has, puts the facts
and the diff into the run directory, goes to SUBDIR of the tree and becomes COMMAND. A
failure is one sentence in the job's log.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile

_BESIDE = ("snapshot.json", "changes.diff")


def main(archive: str, digest: str, folder: str, subdir: str, command: list[str]) -> None:
    """Unpack, and become the command."""
    _check(archive, digest)
    tree = f"{folder}/tree"
    with tarfile.open(archive) as tar:
        for name in _BESIDE:
            _write(f"{os.environ['BERTH_RUN_DIR']}/{name}", tar, tar.getmember(name))
        if not os.path.isdir(tree):  # noqa: PTH112 - a light start
            part = f"{tree}.part"
            shutil.rmtree(part, ignore_errors=True)
            os.mkdir(part)  # noqa: PTH102 - as above
            _unpack(tar, part)
            os.makedirs(f"{part}/{subdir}", exist_ok=True)  # noqa: PTH103 - as above
            # Whole or not there: an attempt that was killed meanwhile leaves only the part.
            os.rename(part, tree)  # noqa: PTH104 - as above
    os.chdir(f"{tree}/{subdir}")
    os.environ["PWD"] = os.getcwd()  # noqa: PTH109 - as above
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


def _check(archive: str, digest: str) -> None:
    found = hashlib.sha256()
    with open(archive, "rb") as file:  # noqa: PTH123 - a light start
        for piece in iter(lambda: file.read(1 << 20), b""):
            found.update(piece)
    if found.hexdigest() != digest:
        sys.exit(
            f"berth: The snapshot {archive} differs from what was frozen; submit the job again."
        )


def _unpack(tar: tarfile.TarFile, folder: str) -> None:
    made = {folder}
    for member in tar:
        _, _, name = member.name.partition("tree/")
        if not name:
            continue
        path = f"{folder}/{name}"
        parent = os.path.dirname(path)  # noqa: PTH120 - a light start
        if parent not in made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - as above
            made.add(parent)
        if member.issym():
            os.symlink(member.linkname, path)  # noqa: PTH211 - as above
        else:
            _write(path, tar, member)
            os.chmod(path, member.mode)  # noqa: PTH101 - as above
            os.utime(path, (member.mtime, member.mtime))


def _write(path: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    source = tar.extractfile(member)
    assert source is not None
    with source, open(path, "wb") as file:  # noqa: PTH123 - a light start
        shutil.copyfileobj(source, file)


if __name__ == "__main__":
    try:
        archive, digest, folder, subdir, *command = sys.argv[1:]
        main(archive, digest, folder, subdir, command)
    except FileNotFoundError as missing:
        sys.exit(f"berth: {missing.filename} does not exist; is it in the snapshot?")
    except (OSError, KeyError, tarfile.TarError) as error:
        sys.exit(f"berth: The snapshot cannot be unpacked ({error}); check the disk.")
