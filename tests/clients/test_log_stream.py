"""The stream of the daemons' logs: a full disk costs the oldest words, never the daemon."""

from __future__ import annotations

import os

from berth.daemons.log_stream import LogStream


class Disk:
    """A descriptor whose writes can be made to fail, as those of a full disk do."""

    def __init__(self, monkeypatch) -> None:
        self.room = 1 << 30
        self.text = b""
        monkeypatch.setattr("berth.daemons.log_stream.os.write", self.write)

    def write(self, _descriptor: int, data: bytes) -> int:
        taken = data[: self.room]
        if not taken:
            raise OSError(28, os.strerror(28))
        self.room -= len(taken)
        self.text += taken
        return len(taken)


def test_words_wait_until_they_can_be_written(monkeypatch):
    """In order, none twice, none torn, also when the disk fills in the middle of a line."""
    disk = Disk(monkeypatch)
    stream = LogStream(99)
    stream.write("one\n")
    disk.room = 2
    for word in ("two\n", "three\n"):
        stream.write(word)
    assert (disk.text, stream.waiting) == (b"one\ntw", 2)
    disk.room = 1 << 30
    stream.flush()
    assert (disk.text, stream.waiting) == (b"one\ntwo\nthree\n", 0)


def test_it_keeps_a_bounded_number_and_counts_the_rest(monkeypatch):
    """The newest megabyte; what was lost is said first."""
    disk = Disk(monkeypatch)
    stream = LogStream(99)
    disk.room = 0
    for number in range(5000):
        stream.write(f"{number:04d}{'x' * 995}\n")
    disk.room = 1 << 30
    stream.flush()
    lines = disk.text.decode().splitlines()
    lost = int(lines[0].split()[0])
    assert lines[1].startswith(f"{lost:04d}x")
    assert lines[-1].startswith("4999x")
    assert len(disk.text) < (1 << 20) + 200


def test_what_no_encoding_takes_is_written_all_the_same(monkeypatch):
    """Lone surrogates in a log line raise nothing."""
    disk = Disk(monkeypatch)
    LogStream(99).write("a\ud800b\n")
    assert disk.text == b"a\\ud800b\n"
