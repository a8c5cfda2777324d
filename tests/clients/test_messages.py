"""Messages are facts: clients render typed parts and never search a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.cli import text
from berth.cli.verbs.jobs import why
from berth.protocol.explain import Explanation, Reason
from berth.protocol.message import (
    Code,
    GpuRef,
    JobRef,
    Message,
    Part,
    Span,
    Text,
    Time,
    UserRef,
)
from berth.protocol.states import JobState

CLIENTS = Path(__file__).parents[2] / "clients"
AT = datetime(2026, 11, 26, 20, 52, tzinfo=UTC)

SENTENCES = {"detail", "message", "reason", "sentence", "summary", "would_help"}
"""Fields of the wire that hold a sentence."""
SEARCHES = {
    "count", "endswith", "find", "findall", "finditer", "fullmatch", "index", "match", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "search",
    "split", "splitlines", "startswith", "sub",
}  # fmt: skip
_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)

PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, text=_WORDS),
    st.builds(Code, text=_WORDS),
    st.builds(
        Time,
        at=st.integers(1_500_000_000, 2_200_000_000).map(lambda s: datetime.fromtimestamp(s, UTC)),
    ),
    st.builds(Span, seconds=st.integers(0, 10**6).map(float)),
    st.builds(JobRef, id=st.integers(1, 999), text=st.just("job 7"), name=_WORDS),
    st.builds(
        GpuRef, indices=st.lists(st.integers(0, 7), unique=True).map(lambda g: tuple(sorted(g)))
    ),
    st.builds(UserRef, name=_WORDS),
)
MESSAGES = st.lists(PARTS, max_size=8).map(lambda parts: Message.of(*parts))


def reworded(message: Message) -> Message:
    """The same facts in other words, which look like facts themselves."""
    other = Text(text=" until 2031-01-01 10:00 UTC by job 99 ")
    return Message(tuple(other if isinstance(part, Text) else part for part in message.root))


class TestMessage:
    def test_it_is_its_sentence(self):
        """Every field keeps the text that it had before there were parts."""
        message = Message.of(
            GpuRef(indices=(0, 1, 2)),
            ": held by ",
            JobRef(id=7, text="job 7", name="train"),
            " of ",
            UserRef(name="ada"),
            " for ",
            Span(seconds=5400),
            " until ",
            Time(at=AT),
            "; see ",
            Code(text="berth gpus"),
            ".",
        )

        assert str(message) == (
            "GPUs 0\N{EN DASH}2: held by job 7 (train) of ada for 1h30m until 2026-11-26 20:52 "
            "UTC; see `berth gpus`."
        )

    @given(MESSAGES)
    def test_it_travels_whole(self, message):
        """As a list of parts, each with its kind."""
        assert Message.model_validate_json(message.model_dump_json()) == message

    def test_words_side_by_side_are_one_part(self):
        """And no part is empty."""
        assert Message.of("a", "", Message.of("b", "c")).root == (Text(text="abc"),)
        assert not Message.of("")


class TestRendering:
    @given(MESSAGES, MESSAGES)
    def test_rewording_changes_no_time_job_or_decision(self, message, other):
        """`berth why` shows the same lines and facts, whatever the words between them say."""
        shown = [_shown(one, other) for one in (message, reworded(message))]
        marks = [[line[:4] for line in lines] for lines in shown]
        assert marks[0] == marks[1]
        ends = [["(until " in line.rpartition("\0")[2] for line in lines] for lines in shown]
        assert ends[0] == ends[1]
        for part in message.root:
            if not isinstance(part, Text):
                own = text.message(Message((part,)), "")
                assert all(own in lines[1] for lines in shown)

    def test_times_are_local_only_where_they_are_parts(self, monkeypatch):
        """A time among the words stays as it was written."""
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        import time

        time.tzset()
        try:
            shown = text.message(Message.of("at 2026-11-26 20:52 UTC, ", Time(at=AT)), "")
        finally:
            monkeypatch.undo()
            time.tzset()
        assert shown == "at 2026-11-26 20:52 UTC, 2026-11-27 05:52"

    def test_without_parts_the_sentence_is_shown(self):
        """A server of an older version sends none."""
        assert text.message(Message(), "It is held.") == "It is held."


def _shown(message: Message, other: Message) -> list[str]:
    reasons = [
        Reason(kind="gpus_held", sentence=str(m), sentence_parts=m, until=AT + timedelta(days=i))
        for i, m in enumerate((message, other))
    ]
    explanation = Explanation(
        job_id=1, state=JobState.QUEUED, summary="It waits.", reasons=reasons, summary_reason=None
    )
    return why.rendered(explanation).splitlines()


def _searches(tree: ast.AST) -> Iterator[int]:
    """Lines on which a sentence's field is searched."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Compare)
            and any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
            and any(_is_sentence(one) for one in node.comparators)
        ) or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in SEARCHES
            and any(_is_sentence(one) for one in (node.func.value, *node.args))
        ):
            yield node.lineno


def _is_sentence(node: ast.expr) -> bool:
    if isinstance(node, ast.BoolOp):
        return any(_is_sentence(one) for one in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
        return any(isinstance(one, ast.Name) and one.id == "error" for one in node.args)
    return isinstance(node, ast.Attribute) and node.attr in SENTENCES


PYTHON = sorted(
    path for room in ("cli", "sdk") for path in (CLIENTS / "berth" / room).rglob("*.py")
)
WEB = sorted(
    path
    for path in (CLIENTS / "web" / "src").rglob("*.ts*")
    if ".test." not in path.name and path.name != "schema.d.ts"
)
_FIELD = rf"\.(?:{'|'.join(sorted(SENTENCES))})\b\)?(?: \?\? (?:\"\"|''))?\)?"
_TS_SEARCH = re.compile(
    rf"{_FIELD}\??\.(?:match|matchAll|replace|replaceAll|split|includes|indexOf|search|startsWith|"
    rf"endsWith|slice|substring)\(|\.(?:exec|test)\([^()]*{_FIELD}\)"
)


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(CLIENTS)))
def test_no_client_searches_a_sentence(path):
    """Times, jobs and phrases come from fields and parts."""
    assert list(_searches(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", WEB, ids=lambda path: str(path.relative_to(CLIENTS)))
def test_the_dashboard_searches_no_sentence(path):
    """The same for the page."""
    assert [found[0] for found in _TS_SEARCH.finditer(path.read_text())] == []


def test_the_searches_are_found():
    """The two tests above would see what they forbid."""
    python = 'a = "until" in reason.sentence\nb = re.search("x", str(error))\nc = job.reason.partition(".")'
    assert list(_searches(ast.parse(python))) == [1, 2, 3]
    for line in (
        'reason.sentence.includes(" until ")',
        "/x/.exec(f.detail)",
        "job.reason.replace(a, b)",
    ):
        assert _TS_SEARCH.search(line)
