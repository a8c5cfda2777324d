"""
Odd values in every field and path, as another user: `python benchmarks/hostile_requests.py`.

Prints how many requests were tried, how each status came out, and every answer that was no clean
one: a 5xx, a traceback, none at all, or one that took more than ten seconds.
"""

from __future__ import annotations

import collections
import http.client
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parent))
from box import MeasuredBox, UnixConnection, measured_box

ATTACKER = 65534
TEXTS = (
    *("", ".", "..", "/", "/dev/zero", "/proc/self/mem", "/proc/1/root", "/dev/stdin", "~root"),
    *("fifo", "loop", "sock", "shut", "zero.sh", "big.sh", "nul.sh", "deep.yaml", "x" * 5000),
    *("\u202e\x1b[2J", "a\nb", "a\0b", "$(id)", "\ud800", "-rf", "--", "%s%n", "NaN"),
    *("file:///etc/passwd", "http://u:p@127.0.0.1:1/", "http://[::", "http://h:99999/", "mailto:x"),
)
NUMBERS = (
    -1,
    0,
    2**31,
    2**63,
    2**64,
    1e308,
    1.5,
    "1" * 5000,
    None,
    True,
    [],
    {},
    "\u00b2",
    "\u0661",
)
BOTH = (*TEXTS, *NUMBERS)
FIELDS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("workdir", "python", "name", "script", "command", "script_file"), BOTH),
    **dict.fromkeys(("time_limit", "grace", "warn_before", "not_before", "gpu_memory"), BOTH),
    **dict.fromkeys(("gpus", "priority", "retries", "nodes", "depends_on", "session"), NUMBERS),
    "notify": tuple([one] for one in BOTH),
    "env": tuple({"A": one} for one in BOTH) + tuple({one: "x"} for one in TEXTS),
    "labels": tuple({"a": one} for one in BOTH) + tuple({one: "x"} for one in TEXTS),
    "depends": tuple([one] for one in NUMBERS),
    "on_oom": tuple({"steps": [one]} for one in BOTH),
    "snapshot": BOTH,
}
LAUNCHERS = (
    *(("sh",), ("python",), ("sbatch",), ("deepspeed",), ("torchrun", "--nproc_per_node")),
    *(("accelerate", "launch", "--config_file"), ("deepspeed", "x.py", "--deepspeed_config")),
)
PATHS = (
    *("jobs/{}", "jobs/{}/log", "jobs/{}/log/lines", "jobs/{}/log/search?q=a", "jobs/{}/metrics"),
    *("jobs/{}/explain", "jobs?limit={}", "jobs?cursor={}", "jobs?state={}", "jobs?label={}"),
    *("events?after={}", "ablations/{}", "plan?hours={}", "gpus/{}/history", "report?month={}"),
    *("jobs/1/log/search?regex=true&q={}", "jobs/1/log/lines?from={}", "jobs/1/curves?keys={}"),
)
_SLOW_S = 10


def main() -> int:
    """Send everything; 1 if an answer was not clean."""
    counts: collections.Counter[int | str] = collections.Counter()
    bad: list[str] = []
    with measured_box() as box, tempfile.TemporaryDirectory() as work:
        box.home.chmod(0o711)
        box.ended([box.submit(command=["echo", "hello"], gpus=0)])
        _lay_out(Path(work))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(ATTACKER)
                    os.setuid(ATTACKER)
                _attack(box, work, counts, bad)
                print(f"{sum(counts.values())} requests: {dict(sorted(counts.items(), key=str))}")
                print("not clean:", *(bad or ["none"]), sep="\n  ", flush=True)
                status = 1 if bad else 0
            finally:
                os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for name in ("server", "worker"):
            assert box.daemons[name].poll() is None, f"the {name} left"
        status, _ = box.call("GET", "/jobs?limit=1000")
        assert status == 200, f"the list of all is answered {status}"
    return code


def _lay_out(work: Path) -> None:
    """Files that are not what they seem."""
    work.chmod(0o755)
    os.mkfifo(work / "fifo")
    (work / "loop").symlink_to("loop")
    (work / "zero.sh").symlink_to("/dev/zero")
    (work / "shut").mkdir(mode=0)
    (work / "big.sh").write_text("#SBATCH --gpus=1\n" * 400_000)
    (work / "nul.sh").write_bytes(b"#!/bin/sh\n#SBATCH \0\xff\n" * 10)
    (work / "deep.yaml").write_text("a: " + "[" * 20_000)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(work / "sock"))


def _attack(
    box: MeasuredBox, work: str, counts: collections.Counter[int | str], bad: list[str]
) -> None:
    def ask(method: str, path: str, body: dict[str, Any] | None, what: str) -> None:
        connection = UnixConnection(box.home / "run" / "berth.sock")
        began = time.monotonic()
        status: int | str
        try:
            payload = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            connection.request(method, f"/api/v1/{path}", payload, headers)
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            status, content = type(error).__name__, b""
        finally:
            connection.close()
        counts[status] += 1
        slow = time.monotonic() - began > _SLOW_S
        if slow or not isinstance(status, int) or status >= 500 or b"Traceback" in content:
            bad.append(f"{status}{' slow' if slow else ''}: {what[:100]!r}")

    plain = {"command": ["true"], "workdir": "/", "hold": True}
    bodies = [
        {**plain, name: f"{work}/{value}" if value in TEXTS[9:17] and value else value}
        for name, values in FIELDS.items()
        for value in values
    ]
    bodies += [
        {**plain, "workdir": work, "command": [*words, value]}
        for words in LAUNCHERS
        for value in TEXTS
    ]
    for path in ("jobs/dry-run", "jobs"):
        for body in bodies:
            if "script" in body:
                body.pop("command", None)
            ask("POST", path, body, f"{path} {body}")
    for path in PATHS:
        for value in ("-1", "9" * 30, "1.0", "..", "(", "(a+)+$", "\\", "1e9", *TEXTS[-12:-3]):
            ask("GET", path.format(quote(value.encode(errors="replace"))), None, f"{path} {value}")
    ask("GET", "jobs?limit=1000", None, "the list of all")


if __name__ == "__main__":
    sys.exit(main())
