"""Words and files that are no program are told at submit."""

from __future__ import annotations

import os

import pytest

from berth.cli.whole.app import app
from berth.protocol.specs import JobSpec
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid
from berth_server.service.jobs import programs
from berth_server.service.jobs.check import check_spec


@pytest.fixture(name="checked")
def _checked(tmp_path):
    """The notes that a submit of a command in a folder with a few files gives."""
    (tmp_path / "plain.sh").write_text("echo hi\n")
    (tmp_path / "job.py").write_text("print(1)\n")
    (tmp_path / "notes.txt").write_text("hi\n")
    (tmp_path / "runs").mkdir()
    (tmp_path / "tool").write_text("#!/bin/sh\necho hi\n")
    (tmp_path / "tool").chmod(0o755)

    def notes(command, **more):
        spec = JobSpec(command=command, workdir=str(tmp_path), **more)
        prepared = check_spec(spec, Caller(os.geteuid(), "ada"))
        return [str(note) for note in prepared.warnings]

    return notes


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("status", "did you mean `berth status`?"),
        ("list", "did you mean `berth ls`?"),
        ("log 42", "did you mean `berth logs`?"),
        (["queue"], "did you mean `berth ls`?"),
        ("plain.sh", "write `berth submit --script plain.sh`"),
        ("plain.sh --fast", "write `berth submit --script plain.sh`"),
        ("./plain.sh", "write `berth submit --script plain.sh`"),
        ("job.py --lr 3", "write `python job.py`"),
        ("./job.py", "write `python job.py`"),
        ("notes.txt", "write `chmod +x notes.txt` first"),
        ("runs", "is a folder"),
        ("tool", "write `./tool`"),
        ("./missing.sh", "does not exist"),
        ("/nowhere/python3.11 x.py", "does not exist"),
    ],
)
def test_what_is_no_program_is_refused_with_the_right_spelling(checked, command, said):
    """Before it waits in the queue, and fails within a moment."""
    with pytest.raises(Invalid) as caught:
        checked(command)

    assert said in str(caught.value.message)


@pytest.mark.parametrize(
    "command",
    ["ls", "true", "./tool", "tool; true", "sleep 1", ["nice", "tool"], "bash plain.sh", "/bin/ls"],
)
def test_programs_are_taken(checked, command):
    """Also those that have a verb's name, and lines that a shell reads."""
    assert not [note for note in checked(command) if "found" in note or "program" in note]


def test_an_unknown_word_gets_a_note(checked):
    """The worker's PATH may hold more than the server's; a near word is named."""
    (note,) = checked("satus")
    assert "was not found on the job's PATH" in note
    assert "`berth status`" in note


def test_what_an_earlier_job_makes_need_not_be_there(checked):
    """Its start says it, should it be missing then."""
    assert checked("./build/tool", depends_on=[41]) == []


def test_a_path_of_the_job_counts(checked, tmp_path):
    """Programs are looked up where the job will look."""
    assert checked("tool", env={"PATH": str(tmp_path)}) == []


def test_every_verb_is_known():
    """The words that are told apart are those of the command line."""
    verbs = {command.name for command in app.registered_commands}
    verbs |= {group.name for group in app.registered_groups}
    assert verbs <= set(programs._VERBS)
