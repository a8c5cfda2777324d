"""
Capture of a git work tree, `capture.py FOLDER MOST_BYTES [--measure]`, as a tar on stdout.

First comes `snapshot.json`, then `changes.diff` (everything that differs from the commit, new
files included), then below `tree/` what git tracks or does not ignore, as it is on disk.
Ignored files and folders become links to where they are, so that data is found and not copied.
Nothing is written into the repository. With --measure only `snapshot.json` is written.
Exits with 3 and one sentence on stderr when the folder cannot be frozen.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

_REFUSED = 3
# Caches that Python rewrites: linked, they would be shared with code that is edited.
_SKIPPED_NAMES = ("__pycache__",)
_SKIPPED_ENDS = (".pyc", ".pyo")


class RefusedError(Exception):
    """The folder cannot be frozen; the message names the fix."""


class Repository:
    """The git repository around a folder. Runs git with nothing that the repository configures."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.root = self._place("--show-toplevel")
        self.subdir = self._place("--show-prefix").rstrip("/")

    def git(self, *words: str, given: bytes | None = None, index: str | None = None) -> bytes:
        """Output of a git command run at the root. Raises CalledProcessError."""
        environment = dict(os.environ, GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
        if index is not None:
            objects = self.text("rev-parse", "--git-path", "objects")
            environment["GIT_INDEX_FILE"] = index
            # Whatever git stores for the comparison goes beside the index, not into the repository.
            environment["GIT_OBJECT_DIRECTORY"] = os.path.dirname(index)  # noqa: PTH120 - as below
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = os.path.join(self.root, objects)  # noqa: PTH118 - a light start
        safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
        done = subprocess.run(
            ["git", "-C", self.root, *safe, *words],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            check=True,
            env=environment,
        )
        return done.stdout

    def text(self, *words: str) -> str:
        """The same as one line of text."""
        return os.fsdecode(self.git(*words)).strip()

    def maybe(self, *words: str) -> str | None:
        """The same where git may have no answer."""
        try:
            return self.text(*words) or None
        except subprocess.CalledProcessError:
            return None

    def names(self, *words: str) -> list[str]:
        """Paths relative to the root, in order."""
        found = self.git("ls-files", "-z", *words).split(b"\0")
        return sorted({os.fsdecode(name) for name in found if name})

    def diff(self, base: str, new: list[str]) -> bytes:
        """Everything that differs from a commit; `new` are untracked files."""
        with tempfile.TemporaryDirectory() as folder:
            index = os.path.join(folder, "index")  # noqa: PTH118 - a light start
            own = os.path.join(self.root, self.text("rev-parse", "--git-path", "index"))  # noqa: PTH118 - as above
            # Copied with its time: git reads files again that were edited in the second it was written.
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(own, index)
            if new:
                self.git(
                    *("--literal-pathspecs", "add", "--intent-to-add"),
                    *("--pathspec-from-file=-", "--pathspec-file-nul"),
                    given=b"\0".join(map(os.fsencode, new)),
                    index=index,
                )
            plain = ("--binary", "--no-ext-diff", "--no-textconv", "--no-color")
            return self.git("diff", *plain, base, index=index)

    def _place(self, what: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", self.folder, "rev-parse", what],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                env=dict(os.environ, LC_ALL="C"),
            )
        except FileNotFoundError:
            raise RefusedError(
                "git is not installed on this box, so code cannot be frozen; install it, or leave "
                "out the snapshot."
            ) from None
        except subprocess.CalledProcessError as error:
            if b"dubious ownership" in error.stderr:
                raise RefusedError(
                    f"git does not trust {self.folder}, which belongs to another user; allow it "
                    f"with: git config --global --add safe.directory {self.folder}"
                ) from None
            raise RefusedError(
                f"{self.folder} is not in a git work tree, so its code cannot be frozen; create one "
                "(git init), or leave out the snapshot."
            ) from None
        return os.fsdecode(done.stdout).rstrip("\n")


def main(folder: str, most_bytes: int, *, measure: bool) -> None:
    """Write the archive, or only the facts."""
    repository = Repository(folder)
    untracked = repository.names("--others", "--exclude-standard")
    # A repository inside this one is listed as a folder: it stays where it is.
    nested = [name for name in untracked if name.endswith("/")]
    new = [name for name in untracked if not name.endswith("/")]
    files = _existing(
        repository.root, {*repository.names("--cached", "--recurse-submodules"), *new}
    )
    links = [*nested, *_ignored(repository)]
    total = sum(size for _, size in files)
    if total > most_bytes:
        name, largest = max(files, key=lambda file: file[1])
        raise RefusedError(
            f"The files in {repository.root} that git does not ignore take {_size(total)} (the "
            f"largest is {name}, {_size(largest)}), but a snapshot holds at most "
            f"{_size(most_bytes)}; list data in .gitignore: ignored files are linked, not copied."
        )
    commit = repository.maybe("rev-parse", "--verify", "--quiet", "HEAD")
    base = commit or repository.text("hash-object", "-t", "tree", os.devnull)
    linked = [name.rstrip("/") for name in links]
    diff = repository.diff(base, new)
    changed = repository.git("diff", "--name-only", "-z", base).count(b"\0")
    facts = {
        "commit": commit,
        "branch": repository.maybe("symbolic-ref", "--quiet", "--short", "HEAD"),
        "root": repository.root,
        "subdir": repository.subdir,
        "changed": changed,
        "untracked": len(new),
        "files": len(files),
        "bytes": total,
        "diff_bytes": len(diff),
        "linked": linked,
    }
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "snapshot.json", json.dumps(facts, indent=1).encode())
        if measure:
            return
        _add(tar, "changes.diff", diff)
        for name, _ in files:
            _add_file(tar, repository.root, name)
        for name in linked:
            link = tarfile.TarInfo(f"tree/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, f"{repository.root}/{name}"
            tar.addfile(link)


def _existing(root: str, names: set[str]) -> list[tuple[str, int]]:
    """Those that are files or links on disk, with the bytes that copying them takes."""
    found: list[tuple[str, int]] = []
    for name in sorted(names):
        try:
            facts = os.lstat(f"{root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            continue  # deleted, and not committed yet
        if stat.S_ISLNK(facts.st_mode):
            found.append((name, 0))
        elif stat.S_ISREG(facts.st_mode):
            found.append((name, facts.st_size))
    return found


def _ignored(repository: Repository) -> list[str]:
    names = repository.names("--others", "--ignored", "--exclude-standard", "--directory")
    return [
        name
        for name in names
        if not name.endswith(_SKIPPED_ENDS)
        and not any(part in _SKIPPED_NAMES for part in name.split("/"))
    ]


def _add_file(tar: tarfile.TarFile, root: str, name: str) -> None:
    path = f"{root}/{name}"
    try:
        if os.path.islink(path):  # noqa: PTH114 - a light start
            link = tarfile.TarInfo(f"tree/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, os.readlink(path)  # noqa: PTH115 - as above
            tar.addfile(link)
            return
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            facts = os.fstat(file.fileno())
            _add(tar, f"tree/{name}", file.read(), facts.st_mode & 0o777, int(facts.st_mtime))
    except FileNotFoundError:
        return  # deleted since it was listed
    except PermissionError:
        raise RefusedError(
            f"{path} may not be read by you, so the code cannot be frozen; change its permissions."
        ) from None


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644, mtime: int = 0) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), mode, mtime
    tar.addfile(member, io.BytesIO(data))


def _size(count: int) -> str:
    value, unit = float(count), "bytes"
    for unit in ("KiB", "MiB", "GiB"):  # noqa: B007 - the last one counts
        value /= 1024
        if value < 1024:
            break
    return f"{value:.1f} {unit}"


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), measure="--measure" in sys.argv[3:])
    except RefusedError as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(_REFUSED)
    except subprocess.CalledProcessError as failure:
        said = os.fsdecode(failure.stderr).strip().splitlines()
        print(f"git failed ({said[0] if said else 'no message'}).", file=sys.stderr)
        sys.exit(_REFUSED)
