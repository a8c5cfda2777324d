"""
Hours of mixed load with a ledger of promises: `python benchmarks/soak.py --minutes 120`.

Jobs are submitted and cancelled, some write hostile files; server, worker, shims and jobs are
killed at random moments, the clock of waiting is random, streams are followed by clients that
come and go. All along and at the end the ledger is checked from outside: what was acknowledged is
there, nothing ran twice, no two jobs held a GPU at once, no lease and no process is left behind,
exit codes are right, memory and descriptors stay flat. Exits with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from box import MeasuredBox, UnixConnection, measured_box

FINAL = {"succeeded", "failed", "cancelled"}
HOSTILE = (
    """printf '{"kind":"x","sentence":"\\\\ud800"}' > $BERTH_RUN_DIR/failure.json""",
    "yes '[' | head -n 60000 | tr -d '\\n' > $BERTH_RUN_DIR/failure.json",
    "yes '{\"a\":' | head -n 60000 | tr -d '\\n' > $BERTH_RUN_DIR/metrics.jsonl",
    "mkfifo $BERTH_RUN_DIR/metrics.jsonl",
    "ln -s /dev/zero $BERTH_RUN_DIR/saved.json",
    "mkdir $BERTH_RUN_DIR/failure.json",
    "head -c 3000000 /dev/urandom",
    "head -c 3000000 /dev/zero | tr '\\0' x",
)


@dataclass
class Ledger:
    """What was promised so far, and what was done to break it."""

    expected: dict[int, int | None] = field(default_factory=dict)
    """Exit code by acknowledged job; None where it was cancelled or its shim killed."""
    killed: collections.Counter[str] = field(default_factory=collections.Counter)
    unknown: int = 0
    cancels: int = 0
    hostile: int = 0
    broken: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)


def main() -> int:
    """Run for the time given; print the ledger; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--followers", type=int, default=20)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    ledger = Ledger()
    with measured_box() as box:
        marks = box.home / "marks"
        marks.touch()
        stop = threading.Event()
        for _ in range(options.followers):
            threading.Thread(target=_follow, args=(box, stop), daemon=True).start()
        until = time.monotonic() + options.minutes * 60
        turn = 0
        while time.monotonic() < until:
            turn += 1
            _submit(box, ledger, dice, marks)
            _cancel(box, ledger, dice)
            time.sleep(dice.random() * 0.1)
            _kill(box, ledger, dice)
            if turn % 10 == 0:
                _look(box, ledger)
            if turn % 50 == 0:
                print(_state(ledger), flush=True)
        stop.set()
        _settle(box, ledger, marks)
    print(_state(ledger), flush=True)
    print(_report(ledger, options.minutes), flush=True)
    return 1 if ledger.broken else 0


def _submit(box: MeasuredBox, ledger: Ledger, dice: random.Random, marks: Path) -> None:
    for _ in range(dice.randrange(1, 4)):
        code = dice.choice((0, 0, 0, 3))
        pause = dice.choice((0, 0.02, 0.1, 0.5))
        hostile = dice.choice(HOSTILE) if dice.random() < 0.2 else ""
        script = (
            f'echo "start $BERTH_ATTEMPT $BERTH_GPU_INDICES $(date +%s.%N)" >> {marks}\n'
            f"{hostile}\nsleep {pause}\n"
            f'echo "end $BERTH_ATTEMPT $BERTH_GPU_INDICES $(date +%s.%N)" >> {marks}\nexit {code}'
        )
        try:
            job_id = box.submit(script=script, gpus=dice.choice((1, 1, 2, 4)))
        except (OSError, http.client.HTTPException):
            ledger.unknown += 1  # not acknowledged: it may or may not be there
            continue
        ledger.expected[job_id] = code
        ledger.hostile += bool(hostile)


def _cancel(box: MeasuredBox, ledger: Ledger, dice: random.Random) -> None:
    if not ledger.expected or dice.random() > 0.3:
        return
    job_id = dice.choice(list(ledger.expected)[-10:])
    ledger.expected[job_id] = None
    ledger.cancels += 1
    with contextlib.suppress(OSError, http.client.HTTPException):
        box.call("POST", f"/jobs/{job_id}/cancel")


def _kill(box: MeasuredBox, ledger: Ledger, dice: random.Random) -> None:
    what = dice.choice(("server", "worker", "both", "shim", "job", "nobody"))
    if what in {"server", "worker", "both"}:
        victims = ("server", "worker") if what == "both" else (what,)
        box.kill(*victims)
        ledger.killed.update(victims)
        box.start(*victims)
    elif what in {"shim", "job"}:
        found = _processes(box, shims=what == "shim")
        if found:
            process, job_id = dice.choice(found)
            # What becomes of it is told, but its exit code is the signal's, or lost.
            ledger.expected[job_id] = None
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
                ledger.killed[what] += 1


def _processes(box: MeasuredBox, *, shims: bool) -> list[tuple[psutil.Process, int]]:
    """Processes of this box's attempts, or their shims, each with the job's id."""
    found: list[tuple[psutil.Process, int]] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ValueError):
            environment = process.environ()
            if not environment.get("BERTH_RUN_DIR", "").startswith(str(box.home)):
                continue
            job_id = int(environment["BERTH_JOB_ID"])
            parent = process.parent()
            if not shims:
                found.append((process, job_id))
            elif (
                parent is not None
                and parent.pid not in {1, *(one.pid for one in box.daemons.values())}
                and "BERTH_RUN_DIR" not in parent.environ()
            ):
                found.append((parent, job_id))
    return found


def _look(box: MeasuredBox, ledger: Ledger) -> None:
    """Check from outside what must be so at any moment."""
    database = sqlite3.connect(f"file:{box.home / 'berth.db'}?mode=ro", uri=True, timeout=10)
    try:
        twice = database.execute(
            "SELECT gpu_uuid FROM leases WHERE released_at IS NULL GROUP BY gpu_uuid HAVING count(*) > 1"
        ).fetchall()
        known = {row[0] for row in database.execute("SELECT id FROM jobs")}
    finally:
        database.close()
    if twice:
        ledger.broken.append(f"a GPU had two leases: {twice}")
    lost = set(ledger.expected) - known
    if lost:
        ledger.broken.append(f"acknowledged and not there: {sorted(lost)[:5]}")
    memory = descriptors = 0
    for daemon in box.daemons.values():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(daemon.pid)
            memory += process.memory_info().rss
            descriptors += process.num_fds()
    ledger.memory.append(memory)
    ledger.descriptors.append(descriptors)


def _settle(box: MeasuredBox, ledger: Ledger, marks: Path) -> None:
    """Wait until all has ended, and compare with the ledger."""
    deadline = time.monotonic() + 180
    pending = set(ledger.expected)
    jobs: dict[int, dict[str, Any]] = {}
    while pending and time.monotonic() < deadline:
        for job_id in list(pending):
            _, job = box.call("GET", f"/jobs/{job_id}")
            if job["state"] in FINAL:
                jobs[job_id] = job
                pending.discard(job_id)
        time.sleep(0.2)
    if pending:
        ledger.broken.append(f"did not end: {sorted(pending)[:10]}")
    wrong = [
        job_id
        for job_id, code in ledger.expected.items()
        if code is not None and job_id in jobs and jobs[job_id]["exit_code"] != code
    ]
    if wrong:
        told = [(i, jobs[i]["state"], jobs[i]["outcome"], jobs[i]["exit_code"]) for i in wrong[:5]]
        ledger.broken.append(f"{len(wrong)} with another end than theirs: {told}")
    lines = [line.split() for line in marks.read_text(errors="replace").splitlines()]
    starts = collections.Counter(line[1] for line in lines if line[0] == "start")
    twice = [attempt for attempt, count in starts.items() if count > 1]
    if twice:
        ledger.broken.append(f"ran twice: {twice[:5]}")
    _collisions(lines, ledger)
    _leftovers(box, ledger)


def _collisions(lines: list[list[str]], ledger: Ledger) -> None:
    spans: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
    began = {line[1]: line for line in lines if line[0] == "start" and len(line) == 4}
    for line in lines:
        if line[0] == "end" and len(line) == 4 and line[1] in began:
            for gpu in line[2].split(","):
                spans[gpu].append((float(began[line[1]][3]), float(line[3])))
    for gpu, held in spans.items():
        held.sort()
        if any(later[0] < earlier[1] for earlier, later in pairwise(held)):
            ledger.broken.append(f"two jobs ran on GPU {gpu} at once")


def _leftovers(box: MeasuredBox, ledger: Ledger) -> None:
    deadline = time.monotonic() + 60
    while True:
        _, gpus = box.call("GET", "/gpus")
        held = [gpu["index"] for gpu in gpus["gpus"] if gpu.get("job_id") is not None]
        left = [process.pid for process, _ in _processes(box, shims=False)]
        database = sqlite3.connect(f"file:{box.home / 'berth.db'}?mode=ro", uri=True, timeout=10)
        leases = database.execute(
            "SELECT count(*) FROM leases WHERE released_at IS NULL"
        ).fetchone()
        database.close()
        if not held and not left and not leases[0]:
            return
        if time.monotonic() > deadline:
            ledger.broken.append(f"left: GPUs {held}, processes {left}, leases {leases[0]}")
            return
        time.sleep(0.5)


def _follow(box: MeasuredBox, stop: threading.Event) -> None:
    """Follow everything a dashboard shows, again and again, whatever ends it."""
    dice = random.Random()
    while not stop.is_set():
        connection = UnixConnection(box.home / "run" / "berth.sock")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/api/v1/live/stream")
            answer = connection.getresponse()
            for _ in range(dice.randrange(1, 400)):
                if stop.is_set() or not answer.readline():
                    break
        connection.close()
        stop.wait(0.2)


def _state(ledger: Ledger) -> str:
    memory = ledger.memory[-1] >> 20 if ledger.memory else 0
    return (
        f"{sum(ledger.killed.values())} kills {dict(ledger.killed)}, {len(ledger.expected)} jobs, "
        f"{ledger.cancels} cancels, {ledger.hostile} hostile, {memory} MiB, "
        f"broken: {ledger.broken or 'nothing'}"
    )


def _report(ledger: Ledger, minutes: float) -> str:
    half = len(ledger.memory) // 2
    early, late = ledger.memory[: half or 1], ledger.memory[half:]
    counts = {
        "minutes": minutes,
        "kills": dict(ledger.killed),
        "jobs acknowledged": len(ledger.expected),
        "submits without an answer": ledger.unknown,
        "cancels": ledger.cancels,
        "jobs that wrote hostile files": ledger.hostile,
        "memory of both daemons, MiB (most in the first and second half)": [
            max(early, default=0) >> 20,
            max(late, default=0) >> 20,
        ],
        "descriptors of both daemons, most": max(ledger.descriptors, default=0),
        "promises broken": ledger.broken,
    }
    return json.dumps(counts, indent=1)


if __name__ == "__main__":
    os.environ.setdefault("BERTH_LOG_LEVEL", "warning")
    sys.exit(main())
