"""Data cache: atomic, checksummed folders, built once for all ranks and jobs."""

import contextlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.errors import UserError
from berth_trainer.file_lock import locked
from berth_trainer.training.ranks import log0, warn

_RECORD = "whole.json"  # written last: sizes and checksums of the files beside it
_BLOCK = 64 << 20
_CHECKED = 64  # blocks of a file that are read again at each start: all up to 4 GiB


@dataclass(frozen=True, slots=True)
class Cache:
    """Cache folder, kept under `limit` bytes by deleting the least recently used entries."""

    root: Path
    limit: int

    def entry(self, name: str, build: Callable[[Path], None]) -> Path:
        """
        Return the entry's folder; build it where it is missing or damaged.

        `build` fills an empty folder. One process builds; others that need the entry wait for
        it. Raises UserError where the cache cannot be written.
        """
        path = self.root / name
        if self._sound(path):
            return path
        try:
            with locked(self.root / f".{name}.lock"):
                if not self._sound(path):
                    self._build(path, build)
        except OSError as error:
            raise UserError(
                f"the data cache {self.root} cannot be written ({error.strerror or error}): set "
                "data.cache_folder to a folder with free space, or to none."
            ) from error
        return path

    def _build(self, path: Path, build: Callable[[Path], None]) -> None:
        if path.exists():
            warn(f"{path} is damaged and is built again.")
            shutil.rmtree(path)
        for left in self.root.glob(f".{path.name}.building.*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        building = path.with_name(f".{path.name}.building.{os.getpid()}")
        building.mkdir(parents=True)
        try:
            build(building)
            files = {file.name: _checksums(file) for file in sorted(building.iterdir())}
            write_json(building / _RECORD, {"files": files})
            building.rename(path)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        entries = {
            path: sum(file.stat().st_size for file in path.iterdir())
            for path in self.root.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        }
        too_much = sum(entries.values()) - self.limit
        for path in sorted(entries, key=lambda entry: (entry / _RECORD).stat().st_mtime):
            if too_much <= 0 or path == newest:
                return
            # Its readers go on: a mapped file stays until it is unmapped.
            shutil.rmtree(path, ignore_errors=True)
            too_much -= entries[path]
            log0(f"data cache: {path.name} was deleted to stay under {self.limit >> 30} GiB.")

    def _sound(self, path: Path) -> bool:
        try:
            recorded: dict[str, Any] = json.loads((path / _RECORD).read_text("utf-8"))["files"]
            if any(not _matches(path / name, sums) for name, sums in recorded.items()):
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False
        with contextlib.suppress(OSError):  # another user's cache: its times are theirs
            os.utime(path / _RECORD)
        return True


def default_root() -> Path:
    """Return $XDG_CACHE_HOME/berth/data, or ~/.cache/berth/data."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "berth" / "data"


class Progress:
    """Progress line every few seconds: count, rate, time left."""

    EVERY_S = 5.0

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._began = self._printed = time.monotonic()

    def reached(self, count: int) -> None:
        now = time.monotonic()
        if now - self._printed < self.EVERY_S or not count:
            return
        self._printed = now
        rate = count / (now - self._began)
        left = (self._total - count) / rate
        # Printed by the rank that does the work, which need not be rank 0.
        print(
            f"{self._what}: {count:,} of {self._total:,}, {rate:,.0f} a second, "
            f"{left / 60:.1f} min left",
            flush=True,
        )


def _blocks(file: Path, numbers: Iterator[int] | range) -> Iterator[int]:
    with file.open("rb") as opened:
        for number in numbers:
            opened.seek(number * _BLOCK)
            yield zlib.crc32(opened.read(_BLOCK))


def _checksums(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    size = file.stat().st_size
    return {"size": size, "crc32": list(_blocks(file, range(-(-size // _BLOCK))))}


def _matches(file: Path, recorded: dict[str, Any]) -> bool:
    if file.stat().st_size != recorded["size"]:
        return False
    sums: list[int] = recorded["crc32"]
    step = max(1, -(-len(sums) // _CHECKED))
    return sums[::step] == list(_blocks(file, range(0, len(sums), step)))
