"""Messages are facts: clients render typed parts and never search a sentence."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clients.conftest import attempt_facts, job_facts
from tests.clients.sentence_searches import in_python, in_typescript, searchers

from berth.cli import jobtext, text
from berth.cli.verbs.jobs import ls, show, why
from berth.cli.wait_notices import WaitNotices
from berth.protocol.events import Event, EventPage
from berth.protocol.explain import Explanation, Reason
from berth.protocol.jobs import Job
from berth.protocol.message import (
    Code,
    FieldRef,
    GpuRef,
    JobRef,
    Message,
    Part,
    Span,
    Text,
    Time,
    UserRef,
    quoted,
)
from berth.protocol.problems import InvalidField
from berth.protocol.states import JobState

if TYPE_CHECKING:
    from berth.sdk.client import Client

CLIENTS = Path(__file__).parents[2] / "clients"
AT = datetime(2026, 11, 26, 20, 52, tzinfo=UTC)

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
    st.builds(FieldRef, path=_WORDS, text=_WORDS),
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

    @pytest.mark.parametrize(
        ("marked", "parts"),
        [
            ("", ()),
            ("It ended.", (Text(text="It ended."),)),
            ("Run `berth up`.", (Text(text="Run "), Code(text="berth up"), Text(text="."))),
            ("`a``b`", (Code(text="a"), Code(text="b"))),
            ("an odd ` stays", (Text(text="an odd ` stays"),)),
            ("`a` and `", (Text(text="`a` and `"),)),
        ],
    )
    def test_backquotes_mark_code(self, marked, parts):
        """In texts of Berth's own, and only in pairs."""
        assert Message.marked(marked).root == parts

    @given(st.text())
    def test_a_marked_text_reads_as_before(self, marked):
        """No character is lost."""
        assert str(Message.marked(marked)) == marked

    def test_a_refused_field_keeps_its_parts(self):
        """As an exception it is its sentence."""
        error = InvalidField("users", quoted("users"), " needs ", Code(text="--user"), ".")
        assert error.field == "users"
        assert str(error) == "'users' needs `--user`."
        assert [part.kind for part in error.message.root] == ["field", "text", "code", "text"]


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

    @given(MESSAGES)
    def test_rewording_changes_no_fact_of_a_job(self, message):
        """`berth ls`, `berth show` and notices of events show each fact as without the words."""
        for shown in (_listed, _described, _noticed):
            plain, other = shown(message), shown(reworded(message))
            assert len(plain.splitlines()) == len(other.splitlines())
            for part in message.root:
                if not isinstance(part, Text):
                    own = text.message(Message((part,)), "")
                    assert own in plain
                    assert own in other

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


def _job(message: Message) -> Job:
    parts = message.model_dump(mode="json")
    attempt = attempt_facts(state="ended", message=str(message), message_parts=parts)
    facts = job_facts(
        reason=str(message),
        reason_parts=parts,
        warnings=[str(message)],
        warnings_parts=[parts],
        attempts=[attempt],
    )
    return Job.model_validate_json(json.dumps(facts))


def _listed(message: Message) -> str:
    return jobtext.info(_job(message)) + ls.rendered([_job(message)]).splitlines()[0]


def _described(message: Message) -> str:
    return show.rendered(_job(message))


class _Events:
    """A client whose job has one event."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def events(self, **_: object) -> EventPage:
        return EventPage(events=[self.event], last_id=1)


def _noticed(message: Message) -> str:
    event = Event(
        id=1, time=AT, kind="job.queued", actor="system", attempt="42.1", message=str(message),
        message_parts=message,
    )  # fmt: skip
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        WaitNotices(cast("Client", _Events(event)))(_job(message))
    return printed.getvalue()


PYTHON = sorted(
    path for room in ("cli", "demo", "sdk") for path in (CLIENTS / "berth" / room).rglob("*.py")
)
TREES = {path: ast.parse(path.read_text()) for path in PYTHON}
SEARCHERS = searchers(list(TREES.values()))
WEB = sorted(
    path
    for path in (CLIENTS / "web" / "src").rglob("*.ts*")
    if ".test." not in path.name and path.name != "schema.d.ts"
)


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(CLIENTS)))
def test_no_client_searches_a_sentence(path):
    """Times, jobs and phrases come from fields and parts."""
    assert in_python(TREES[path], SEARCHERS) == []


@pytest.mark.parametrize("path", WEB, ids=lambda path: str(path.relative_to(CLIENTS)))
def test_the_dashboard_searches_no_sentence(path):
    """The same for the page."""
    assert in_typescript(path.read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        'a = "until" in reason.sentence',
        'b = re.search("x", str(error))',
        'c = job.reason.partition(".")',
        "d = str(job.message_parts).split()",
        'e = "job" in problem.detail_parts',
        "def f(job):\n    said = job.message\n    return said.find('x')",
        "def g(text):\n    return text.split()\nh = g(event.message)",
        "def i(a, text):\n    return g(text)\ndef g(b):\n    return 'x' in b\nj = i(1, job.reason)",
        "k = text.message(job.reason_parts, job.reason).split()",
    ],
)
def test_a_search_in_python_is_found(code):
    """The tests above would see what they forbid: also by a variable, or by a helper."""
    tree = ast.parse(code)
    assert in_python(tree, searchers([tree]))


@pytest.mark.parametrize(
    "code",
    [
        'reason.sentence.includes(" until ")',
        "/x/.exec(f.detail)",
        "job.reason.replace(a, b)",
        "job.warnings?.[0].split(a)",
        "const said = event.message; if (said.includes(a)) b();",
        'const said = job.reason ?? ""; /x/.test(said)',
        "timesIn(reason.sentence)",
        'timesIn(now, job.reason ?? "")',
    ],
)
def test_a_search_in_typescript_is_found(code):
    """The same for the page."""
    assert in_typescript(code)
