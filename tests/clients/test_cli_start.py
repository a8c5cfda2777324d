"""The command line as a process: it starts light, ends with sentences and codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BERTH = [sys.executable, "-m", "berth.cli.main"]
HEAVY = {
    "berth_server",
    "berth_worker",
    "berth_trainer",
    "torch",
    "fastapi",
    "sqlmodel",
    "deepspeed",
}
LATER = {"httpx2", "rich", "yaml", "psutil", "berth.protocol"}


@pytest.fixture
def env(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
    return {**kept, "BERTH_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "ignore"}


def modules_after(code: str, env) -> set[str]:
    """The modules that are loaded after some code, without what they are part of."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return set(eval(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "words", ["['--help']", "['submit', '--help']", "['ls', '--nonsense']", "['--version']"]
)
def test_help_loads_nothing_that_speaks_to_a_server(env, words):
    """Help imports only typer and the standard library."""
    loaded = modules_after(f"from berth.cli.main import app; app({words})", env)

    assert not loaded & (HEAVY | LATER)
    # Typer itself reads option values with pydantic; the list of verbs needs none.
    assert words != "['--help']" or "pydantic" not in loaded


def test_a_verb_never_loads_server_worker_or_trainer(env):
    """Also a verb that runs stays light."""
    loaded = modules_after("from berth.cli.main import app; app(['ls'])", env)

    assert "httpx2" in loaded
    assert not loaded & HEAVY


def test_import_berth_is_next_to_nothing(env):
    """`import berth` in a notebook or a training script loads no client."""
    assert not modules_after("import berth", env) & (HEAVY | LATER | {"typer"})
    assert "httpx2" in modules_after("import berth; berth.Client", env)


def run(env, *words: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BERTH, *words], capture_output=True, text=True, env=env, **more)


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["submit", "--", "true"],
        ["run", "--", "true"],
        ["logs", "-f", "1"],
        ["wait", "1"],
        ["gpus"],
        ["status"],
        ["why", "1"],
        ["cancel", "1"],
        ["token", "ls"],
        ["web"],
    ],
)
def test_without_a_server_there_is_one_sentence(env, words):
    """Exit code 3, the sentence names the place and the fix."""
    done = run(env, *words)

    assert done.returncode == 3
    assert done.stderr.startswith("berth: No Berth server answers at ")
    assert "`berth up`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_json_errors_are_json(env):
    """A program that asked for JSON gets JSON on stderr, and nothing on stdout."""
    done = run(env, "ls", "--json")

    assert done.stdout == ""
    assert json.loads(done.stderr)["error"]["exit_code"] == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lss"], "Did you mean 'ls'?"),
        (["ls", "--stat", "queued"], "--state"),
        (["show"], "JOB"),
        (["logs", "x"], "not a job id"),
        (["down", "--jobs", "kill"], "cancel"),
    ],
)
def test_usage_mistakes_are_one_sentence(env, words, sentence):
    """Exit code 2 and the nearest right word."""
    done = run(env, *words)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_fault_of_the_command_itself_is_no_traceback(env, berth, monkeypatch):
    """Even a bug is one sentence that says how to see more."""
    monkeypatch.setattr("berth.cli.ids.one", lambda _: 1 / 0)

    result = berth("show", "1")

    assert result.exit_code == 70
    assert "ZeroDivisionError" in result.stderr
    assert "BERTH_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_is_quiet(env, a_socket, tmp_path):
    """An interrupted command leaves with 130 and says nothing."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [*BERTH, "submit", "--script", str(fifo)]
    process = subprocess.Popen(command, env=env, stdout=-1, stderr=-1, text=True)
    # Opening blocks until the command reads the other end: it is inside the verb then.
    with process, fifo.open("w"):
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=20)

    assert (process.returncode, words) == (130, "")


def test_a_closed_pipe_is_quiet(env):
    """`berth --help | head` ends without a word on stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*BERTH, "submit", "--help"], stdout=writer, stderr=-1, env=env)
    os.close(writer)

    assert done.stderr == b""


def test_an_ascii_terminal_is_no_error(env):
    """Letters that the terminal lacks are replaced."""
    asked = {**env, "PYTHONIOENCODING": "ascii"}
    done = run(asked, "submit", "--env", "\N{SNOWMAN}", "--", "true")

    assert done.returncode == 2
    assert "'?' is not of the form" in done.stderr


def test_completion_knows_verbs_options_and_job_ids(env, fake, wire, berth, monkeypatch):
    """The shell completes what can be typed; without a server ids are simply not offered."""
    asked = {**env, "_BERTH_COMPLETE": "complete_bash", "COMP_WORDS": "berth su", "COMP_CWORD": "1"}
    assert run(asked).stdout.split() == ["submit"]
    asked |= {"COMP_WORDS": "berth show 4", "COMP_CWORD": "2"}
    done = run(asked)
    assert (done.stdout.strip(), done.stderr) == ("", "")

    from berth.cli import ids

    fake.answer("GET", "/api/v1/jobs", {"jobs": [wire.job(42), wire.job(5)], "next_cursor": None})
    assert ids.complete("4") == [("42", "queued persona-history")]


def test_completion_knows_users_labels_gpus_and_ablations(fake, wire):
    """By their beginning, each with a word about it."""
    from berth.cli.whole import completion

    jobs = [wire.job(42, labels={"study": "b"}), wire.job(5, labels={"study": "a"})]
    user = {"user": "ada", "running": 1, "pending": 2, "gpus": 4, "gpu_hours_7d": 1.0}
    fake.answer("GET", "/api/v1/jobs", {"jobs": jobs, "next_cursor": None})
    fake.answer("GET", "/api/v1/users", {"users": [user]})
    box = {"hostname": "lab", "gpus": [wire.gpu(0), wire.gpu(1)], "sentence": ""}
    fake.answer("GET", "/api/v1/gpus", box)

    assert completion.labels("study=a") == [("study=a", "job 5")]
    assert completion.users("a") == [("ada", "1 running, 2 pending")]
    assert completion.users("b") == []
    assert completion.gpus("1") == [("1", "free")]
    fake.answer("GET", "/api/v1/ablations", {"ablations": []})
    assert completion.ablations("") == []


def test_colour_only_for_terminals(env):
    """Pipes get plain text, NO_COLOR is obeyed, FORCE_COLOR too."""
    code = "from berth.cli.text import style; print(style('x', 'red'))"

    def shown(**more: str) -> str:
        bare = {k: v for k, v in env.items() if k not in {"NO_COLOR", "FORCE_COLOR"}}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**bare, **more}
        ).stdout

    assert shown() == "x\n"
    assert shown(FORCE_COLOR="1") == "\x1b[31mx\x1b[0m\n"
    assert shown(FORCE_COLOR="1", NO_COLOR="1") == "x\n"


def test_the_installed_script_is_this(env):
    """`berth` on PATH is the same command."""
    script = Path(sys.executable).with_name("berth")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, env=env)

    assert done.stdout.startswith("berth 0.")
