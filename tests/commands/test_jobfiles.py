"""The reader of what a job wrote: whatever lies there, it answers, at once and within bounds."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from berth import jobfiles

NESTED = [
    b"[" * 60_000,
    b'{"a":' * 60_000 + b"1" + b"}" * 60_000,
    b'{"sentence":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"kind": "x", "sentence": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}}',
]
HOSTILE = [
    *NESTED,
    b"",
    b"\0" * 1000,
    b"\xff\xfe{\0",
    b'{"kind": "oom_gpu", "sentence": "\\ud800 \\udfff"}',
    b'{"\\ud800": "\\udc00"}',
    b'{"kind": 1' + b"0" * 5000 + b"}",
    b'{"kind": 1e999, "sentence": NaN}',
    b'{"kind": "\\u001b]0;x\\u0007", "sentence": "a\\u202eb\\u0000c"}',
    b'{"sentence": "' + b"x" * 200_000 + b'"}',
    b'{"a": 1, "a": 2}',
    b"null",
    b"-Infinity",
    b'"text"',
]
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def is_clean(text: str) -> bool:
    return text.encode().decode() == text and "\x1b" not in text and "\0" not in text


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_json_is_nothing_or_clean(data):
    """Depth, size, surrogates, numbers that are none: no exception and nothing unclean."""
    found = jobfiles.json_object(data)
    assert found is None or is_clean(json.dumps(found, ensure_ascii=False))
    kind, sentence = jobfiles.failure(data)
    assert all(word is None or is_clean(word) for word in (kind, sentence))


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=500, deadline=None)
@example(b'{"kind": "x", "sentence": "\\udcff"}')
def test_any_bytes_are_answered(data):
    """Whatever a file holds, what comes out can be sent and shown."""
    found = jobfiles.json_object(data)
    assert found is None or is_clean(json.dumps(found, ensure_ascii=False))
    assert all(word is None or is_clean(word) for word in jobfiles.failure(data))


@given(TEXTS, st.integers(1, 60))
def test_a_line_is_one_clean_line(value, most):
    """No line end, no control character, no lone surrogate, never longer than asked."""
    line = jobfiles.line(value, most)
    assert len(line) <= most
    assert is_clean(line)
    assert len(line.splitlines()) <= 1


@given(st.floats() | st.integers() | TEXTS | st.none() | st.booleans())
def test_a_number_is_finite_or_none(value):
    """Also 10**400, "nan", superscripts and a text of digits without end."""
    number = jobfiles.finite(value)
    assert number is None or abs(number) < float("inf")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *[("7", 7), (b"128", 128), ("129", None), ("²", None), ("9" * 5000, None), ("-1", None)],
        *[("", None), (b"\xb2", None), (" 1", None), ("\u0661", None)],
    ],
)
def test_a_whole_number_is_plain_digits(value, number):
    """`isdigit` accepts more characters than `int` does."""
    assert jobfiles.whole(value, 128) == number


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("42.1", (42, 1)),
        ("9" * 5000 + ".1", None),
        ("1." + "9" * 20, None),
        ("².1", None),
        ("1", None),
        ("1.1.1", None),
        ("-1.1", None),
    ],
)
def test_an_attempt_is_named_by_two_numbers(value, key):
    """What a process says that it is of, another one may have written."""
    assert jobfiles.attempt_key(value) == key


@pytest.mark.parametrize("seconds", [-1e18, 1e18, float("nan"), float("inf"), 0.0])
def test_a_time_is_a_moment_that_has_been(seconds):
    """A file's owner sets its time at will, also to years that no calendar has."""
    assert 0 <= jobfiles.moment(seconds).timestamp() <= time.time() + 1


def put(kind: str, path: Path) -> None:
    """Put something other than a file of its own at the path."""
    elsewhere = path.parent / "elsewhere"
    elsewhere.write_text('{"kind": "stolen"}')
    match kind:
        case "link":
            path.symlink_to(elsewhere)
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link to itself":
            path.symlink_to(path)
        case "hard link":
            os.link(elsewhere, path)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            import socket

            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))


KINDS = ["link", "link to a device", "link to itself", "hard link", "pipe", "folder", "socket"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inner", [True, False], ids=["in its folder", "of an earlier version"])
def test_only_a_file_of_its_own_is_read(kind, inner):
    """Links, pipes, folders and sockets are refused at once."""
    with tempfile.TemporaryDirectory(prefix="jf-") as made:
        run_dir = Path(made)
        folder = run_dir / jobfiles.FOLDER if inner else run_dir
        folder.mkdir(exist_ok=True)
        put(kind, folder / "failure.json")
        assert jobfiles.written(run_dir, "failure.json") == b""
        with pytest.raises(jobfiles.NotOwnFileError):
            jobfiles.open_written(run_dir, "failure.json")


def test_a_folder_that_is_a_link_is_not_entered(tmp_path):
    """The job's folder itself may have been replaced."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "saved.json").write_text("{}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / jobfiles.FOLDER).symlink_to(tmp_path / "other")
    assert jobfiles.written(tmp_path / "run", "saved.json") == b""


def test_a_file_that_is_too_long_or_another_users_is_not_read(tmp_path):
    """Its length counts before it is read, and so does its owner."""
    path = tmp_path / "failure.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    assert jobfiles.written(tmp_path, "failure.json") == b""
    path.write_bytes(b'{"kind": "a"}')
    assert jobfiles.written(tmp_path, "failure.json", {os.geteuid()}) != b""
    assert jobfiles.written(tmp_path, "failure.json", {os.geteuid() + 1}) == b""
