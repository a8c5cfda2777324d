"""The quick command line: the same words and answers as the whole one, and few modules."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler

import httpx2
import pytest
from tests.server.daemons import new_home
from typer.main import get_command

from berth.cli import quick, session
from berth.cli.job_options import JobOptions
from berth.cli.quick import argv
from berth.cli.quick.http import Connection
from berth.cli.whole.app import app

VERBS = sorted(quick.VERBS)
# Python's own start and re, json, datetime, pathlib, typing are most of these.
MOST_MODULES = 130
FOR_SUBMIT = {"berth.cli.job_options", "berth.cli.jobfile", "berth.cli.batch_script"}
NEVER = {"typer", "pydantic", "httpx2", "rich", "yaml", "dataclasses", "http.client", "ssl"}


def verb_of(name: str):
    """The function of a verb."""
    import importlib

    return getattr(importlib.import_module(f"berth.cli.verbs.{quick.VERBS[name]}"), name)


@pytest.mark.parametrize("name", VERBS)
def test_every_option_is_typers(name):
    """Both read the same flags, kinds, repetitions and limits of every option."""
    command = get_command(app).commands[name]
    ours = {one.name: one for one in argv.declarations(verb_of(name))[0]}
    theirs = {one.name: one for one in command.params if one.name != "help"}

    assert set(ours) == set(theirs)
    for key, one in theirs.items():
        mine = ours[key]
        positional = one.param_type_name == "argument"
        assert mine.positional == positional
        assert positional or set(mine.flags) == {*one.opts, *one.secondary_opts}
        kind = one.type_descriptor.annotation
        assert mine.kind is (str if kind == list[str] else kind), key
        assert mine.repeated == (getattr(one, "multiple", False) or one.nargs == -1)
        assert mine.least == one.min
        assert not positional or mine.required == one.required


LINES = [
    "submit -- true", "submit true", "submit --gpus 2 -g 1 --name=x -- a --b -c", "submit -t 1h python train.py --gpus 3",
    "submit -e A=1 --env B=2 -l x=y --hold --share --gpu-memory 4GiB python x.py", "submit -p 5 nvidia-smi",
    "submit --depends-on 1,2 --depends-on 3 --notify http://x/y make", "submit --file jobs.jsonl", "submit -- -- x",
    "ls", "ls -a -m", "ls --state running --state queued -s failed -n 3", "ls --limit=2 --user ada --label a=b",
    "logs 1", "logs 1.2 -n 4 --raw", "logs --lines 0 1", "logs 1 -n 4", "why 3 --against 4", "why 3",
    "cancel 1 2-4", "hold 1", "retry 2 1", "release 7", "gpus", "cancel -- 1",
]  # fmt: skip
LEFT = [
    "submit", "submit --gpus -1 true", "submit --gpus x true", "submit --nonsense true", "submit -g2 true", "ls -am", "ls x",
    "submit --help", "submit python x.py -- y", "submit 'a b' --gpus 2", "submit jobs.yaml --gpus 2", "submit --name", "submit --name --gpus 2 x",
    "logs", "logs 1 2", "logs -n -1 1", "why", "cancel", "ls --mine=1", "ls -n", "gpus drain 3",
]  # fmt: skip


def values_of(words):
    """The arguments of a verb as the quick reader finds them, options of a job spread out."""
    found = argv.read(verb_of(words[0]), words[1:])
    if found is not None and isinstance(found.get("options"), JobOptions):
        found |= vars(found.pop("options"))
    return found


@pytest.mark.parametrize("line", LINES)
def test_words_are_read_as_typer_reads_them(line):
    """The same values from the same words."""
    import shlex

    words = shlex.split(line)
    context = get_command(app).commands[words[0]].make_context(words[0], list(words[1:]))
    theirs = {
        key: value for key, value in context.params.items() if value not in (None, False, [], ())
    }

    assert {k: v for k, v in values_of(words).items() if v} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in theirs.items() if v
    }


@pytest.mark.parametrize("line", LEFT)
def test_what_is_unusual_is_left_to_typer(line):
    """Mistakes, help and options after the command line are read by Typer."""
    import shlex

    assert values_of(shlex.split(line)) is None or line == "submit"


@pytest.fixture
def listening(fake, tmp_path, monkeypatch):
    """The fake server on a real unix socket."""
    path = tmp_path / "s.sock"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self):
            return "unix"

        def log_message(self, *_):
            pass

        def do_GET(self):
            size = int(self.headers.get("Content-Length", 0))
            request = httpx2.Request(
                self.command, f"http://berth{self.path}", content=self.rfile.read(size)
            )
            answer = fake.handle(request)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET  # noqa: N815 - the name is that of http.server

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    server = Server(str(path), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("BERTH_URL", f"unix://{path}")
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def answers(listening, wire):
    """Answers to the common verbs, each kind of sentence and holder in it."""
    parts = [{"kind": "text", "text": "Held by "}, {"kind": "job", "id": 3, "text": "job 3", "name": "x"},
             {"kind": "text", "text": " until "}, {"kind": "time", "at": wire.time(3600)},
             {"kind": "gpu", "indices": [0, 1]}, {"kind": "code", "text": "berth ls"},
             {"kind": "duration", "seconds": 90.0}, {"kind": "user", "name": "ada"}]  # fmt: skip
    job = wire.job(3, state="running", started_at=wire.time(-3601), time_limit="12h", gpu_indices=[0], attempts=[wire.attempt(3)], reason=None)  # fmt: skip
    waiting = wire.job(4, reason_parts=parts, expected_start=wire.time(7000), warnings=["Mind the gap."], position=1)  # fmt: skip
    ended = wire.job(2, state="failed", outcome="oom_gpu", message="Out of memory.", started_at=wire.time(-99), ended_at=wire.time(-90))  # fmt: skip
    log = httpx2.Response(200, content=b"one\n\xfftwo\nthree\n", headers={"Berth-Log-Offset": "0", "Berth-Attempt": "3.1"})  # fmt: skip

    def piece(request):
        return log if request.url.params.get("offset") in {"0", "-200", "-400"} else httpx2.Response(200, content=b"")  # fmt: skip

    listening.answer("POST", "/api/v1/jobs", lambda r: waiting if r.content[:1] == b"{" else {"ids": [5, 6], "warnings": ["w"]})  # fmt: skip
    listening.answer("GET", "/api/v1/jobs", {"jobs": [waiting, job, ended], "next_cursor": None})
    listening.answer("GET", "/api/v1/jobs/3", job)
    listening.answer("GET", "/api/v1/jobs/4", waiting)
    listening.answer("GET", "/api/v1/jobs/3/log", piece)
    listening.answer("GET", "/api/v1/me", {"user": "ada", "uid": 1, "admin": False, "via": "socket"})  # fmt: skip
    for verb in ("cancel", "hold", "release", "retry"):
        listening.answer("POST", f"/api/v1/jobs/3/{verb}", waiting)
        listening.answer("POST", f"/api/v1/jobs/9/{verb}", (409, {"type": "berth:x", "title": "No", "status": 409, "detail": "It has ended.", "detail_parts": parts}))  # fmt: skip
    holder = {"kind": "job", "job_id": 3, "job_name": "p", "user": "ada", "until": wire.time(39601), "sentence": "job 3"}  # fmt: skip
    listening.answer("GET", "/api/v1/gpus", {"hostname": "lab", "sentence": "1 free.", "sentence_parts": parts, "taken_at": wire.time(-9), "stale": True, "fence": "namespace", "gpus": [wire.gpu(0, holder=holder), wire.gpu(1, draining=True)]})  # fmt: skip
    listening.answer("GET", "/api/v1/jobs/4/explain", {"job_id": 4, "state": "queued", "summary": "It waits.", "position": 1, "expected_start": wire.time(70), "confidence": "guess", "reasons": [{"kind": "gpus_held", "sentence": "held", "sentence_parts": parts, "until": wire.time(50)}], "would_help": ["Less."], "notes_parts": [parts]})  # fmt: skip
    return listening


SHOWN = [
    "submit -- true", "submit --name x --gpus 2 python a.py --lr 1", "ls", "ls --all", "ls --mine -n 2", "ls --state nonsense",
    "logs 3", "logs 3 -n 1", "logs 4", "logs x", "logs 7", "gpus", "why 4", "why 4 --against 4", "cancel 3", "cancel 3 9", "cancel 9",
    "cancel 77 78", "hold 3", "release 3", "retry 3", "retry 9", "submit --env x true", "submit --script missing.sh",
]  # fmt: skip


@pytest.mark.parametrize("line", SHOWN)
def test_output_is_the_same_to_the_byte(answers, line):
    """Stdout, stderr and exit code of both ways, over the same socket."""
    env = {**os.environ, "BERTH_HOME": "/nonexistent", "NO_COLOR": "1"}
    ways = [
        f"import sys; from berth.cli.main import main; sys.argv[1:] = {line.split()!r}; main()",
        f"from berth.cli.whole.app import app; app({line.split()!r})",
    ]
    # The transport of the fake is not patched in there: the whole client uses the socket, too.
    quickly, wholly = (
        subprocess.run([sys.executable, "-c", way], capture_output=True, env=env) for way in ways
    )

    def still(shown: bytes) -> bytes:
        return re.sub(rb" +[0-9][0-9hms]*[hms]\b", b" <span>", shown)  # the clock goes on

    assert still(quickly.stdout) == still(wholly.stdout)
    assert (quickly.stderr, quickly.returncode) == (wholly.stderr, wholly.returncode)


@pytest.mark.parametrize(
    "line", ["submit -- true", "ls", "logs 3", "logs 3 -n 2", "gpus", "why 4", "cancel 3", "cancel 9", "hold 3"]
)  # fmt: skip
def test_a_common_verb_loads_few_modules(answers, line):
    """The budget of each verb: its imports are what a command costs."""
    code = (
        f"import sys; from berth.cli.main import main; sys.argv[1:] = {line.split()!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "import json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))

    assert not loaded & NEVER
    assert line.startswith("submit") or not loaded & FOR_SUBMIT
    assert len(loaded) <= MOST_MODULES, len(loaded)


def test_a_chunked_answer_and_a_broken_one(fake, tmp_path, monkeypatch):
    """Chunks are joined; what is no HTTP is left to the whole client."""
    import socket

    from berth.cli.quick.http import Connection, HttpError

    path = str(tmp_path / "raw.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    replies = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n", b"nonsense\r\n\r\n"]  # fmt: skip

    def serve():
        other, _ = listener.accept()
        for reply in replies:
            other.recv(9999)
            other.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    connection = Connection((socket.AF_UNIX, path))

    assert connection.ask("GET", "/", {}, None).content == b"abcde"
    with pytest.raises(HttpError):
        connection.ask("GET", "/", {}, None)
    assert session.quick is False


def test_a_vanished_folder_matters_only_where_it_is_needed(answers, tmp_path):
    """With --workdir the job is submitted from a deleted folder; without, one sentence."""
    gone = tmp_path / "gone"
    gone.mkdir()

    def submit(*more: str) -> subprocess.CompletedProcess[str]:
        words = ["submit", *more, "true"]
        code = f"import os, sys; os.rmdir({str(gone)!r}); from berth.cli.main import main; sys.argv[1:] = {words!r}; main()"
        gone.mkdir(exist_ok=True)
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=gone)  # fmt: skip

    assert submit("-C", "/tmp").returncode == 0
    refused = submit()
    assert (refused.returncode, "--workdir" in refused.stderr) == (2, True)


def test_a_full_queue_of_connections_is_waited_for():
    """A server that has no room for another connection yet is not a server that is away."""
    with new_home() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(folder / "s")
        listener.bind(path)
        listener.listen(0)
        kept: list[socket.socket] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                one = socket.socket(socket.AF_UNIX)
                one.settimeout(20)
                kept.append(one)
                one.connect(path)
        made: list[object] = []

        def connect() -> None:
            try:
                connection = Connection((socket.AF_UNIX, path))
            except OSError as error:
                made.append(error)
            else:
                connection.close()
                made.append("connected")

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join(0.2)
        assert made == []
        listener.settimeout(20)
        while thread.is_alive():
            with contextlib.suppress(TimeoutError):
                listener.settimeout(0.1)
                listener.accept()[0].close()
        for one in kept:
            one.close()
    assert made == ["connected"]
