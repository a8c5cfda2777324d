"""
Hours of mixed load with a ledger of promises: `python benchmarks/soak --minutes 120`.

Jobs of two users are submitted and cancelled, every sixth attacks whatever reads its files. Server,
worker, fork server, shims and jobs die with SIGKILL, at random moments and at the named points of
points.py; the disk fills up, the clock steps, GPUs fall off the bus and come back, followers come
and go. All along and at the end the ledger is checked from outside. Exits with 1 where a promise
was broken. `--boxes` runs several side by side. `--points` goes through the named points once, each alone.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
import hostile
from box import NAMES, Box
from followers import Followers
from ledger import FINAL, Ledger, together
from points import POINTS

_LOST = (OSError, http.client.HTTPException)
_ATTACKS = hostile.lines()


class Soak:
    """One run."""

    def __init__(self, seed: int, followers: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.box = Box()
        self.ledger = Ledger(self.box.folder)
        self.followers = Followers(self.box.home / "run" / "berth.sock", followers, seed)
        self._armed: set[str] = set()
        self._mending: list[tuple[float, Any]] = []

    def run(self, minutes: float, kills: int) -> None:
        """Make trouble until the time is over or so many kills were made."""
        began, turn = time.monotonic(), 0
        while time.monotonic() - began < minutes * 60 and sum(self.ledger.kills.values()) < kills:
            turn += 1
            for _ in range(self.dice.randrange(1, 3)):
                self.submit()
            self.cancel()
            self.trouble()
            time.sleep(self.dice.random() * 0.3)
            self.mend()
            self.count()
            if turn % 20 == 0:
                self.look()
            if turn % 50 == 0:
                spent = (time.monotonic() - began) / 60
                print(f"{spent:.1f} min: {self.ledger.state()}", flush=True)
        self.mend(everything=True)

    def each_point(self) -> list[str]:
        """Die once at every named point; return those that no process came to."""
        missed = []
        for point in POINTS:
            self.wait(self.box.ready, 60)
            self.arm(point)
            for again in range(20):
                self.submit(pause=0.2, attack="", as_nobody="fork" in point or "exec" in point)
                if "stop" in point:
                    self.cancel(always=True)
                if self.wait(lambda point=point: point not in self._armed, 1 + again / 4):
                    break
            else:
                missed.append(point)
                (self.box.armed / point).unlink(missing_ok=True)
                self._armed.discard(point)
            self.look()
        return missed

    # Load

    def submit(
        self,
        pause: float | None = None,
        attack: str | None = None,
        *,
        as_nobody: bool | None = None,
    ) -> None:
        """Submit a job with an end of its own, perhaps one that attacks."""
        dice = self.dice
        code = dice.choice((0, 0, 0, 3))
        if attack is None:
            attack = dice.choice(_ATTACKS) if dice.random() < 0.17 else ""
        spec: dict[str, Any] = {
            "script": self.ledger.script(
                code=code,
                pause=dice.choice((0, 0.02, 0.1, 0.5, 2)) if pause is None else pause,
                hostile=attack,
            ),
            "gpus": dice.choice((1, 1, 2, 4)),
            "grace": "1s",
            "retries": dice.choice((0, 0, 2)),
        }
        if as_nobody is None:
            as_nobody = dice.random() < 0.2
        try:
            status, body = self.box.submit(spec, as_nobody=as_nobody and os.geteuid() == 0)
        except _LOST:
            self.ledger.unanswered += 1  # it may or may not be there
            return
        if status == 201:
            self.ledger.acknowledged[body["id"]] = code
            if attack:
                self.ledger.attacks[body["id"]] = attack
            self.followers.tell(body["id"])
        elif status == 503 or (status == 422 and "did not answer within" in body["detail"]):
            self.ledger.refused += 1  # no room, or no processor for the check of the folder
        else:
            self.ledger.break_(f"a submit was answered {status}: {body}")

    def cancel(self, *, always: bool = False) -> None:
        """Cancel one of the last jobs."""
        if not self.ledger.acknowledged or (not always and self.dice.random() > 0.15):
            return
        job_id = self.dice.choice(list(self.ledger.acknowledged)[-1 if always else -8 :])
        self.ledger.cancelled.add(job_id)
        with contextlib.suppress(*_LOST):
            self.box.call("POST", f"/jobs/{job_id}/cancel")

    # Trouble

    def trouble(self) -> None:
        """Do one thing, or nothing."""
        dice = self.dice
        what = dice.random()
        if what < 0.35:
            point = dice.choice(list(POINTS))
            # A daemon that dies at each of its starts would be all that is seen.
            if point.partition(".")[0] not in NAMES or self._is_up():
                self.arm(point)
        elif what < 0.45 and self._is_up():
            self.kill(dice.choice(NAMES))
        elif what < 0.65:
            self.kill_one(self.box.shims(), "shim at random")
        elif what < 0.75:
            self.kill_one([one for one, _ in self.box.attempts()], "job's process")
        elif what < 0.77 and self.box.has_disk:
            self.fill()
        elif what < 0.79:
            self.step_clock()
        elif what < 0.82:
            self.break_gpus()

    def _is_up(self) -> bool:
        """Return whether jobs can start, and no daemon is about to die: one in ten times anyway."""
        waits = any(point.partition(".")[0] in NAMES for point in self._armed)
        return self.dice.random() < 0.1 or (not waits and self.box.ready())

    def arm(self, point: str) -> None:
        """Let the next process that comes to a point die there."""
        self._armed.add(point)
        path = self.box.armed / point
        path.touch()
        path.chmod(0o666)

    def kill(self, name: str) -> None:
        """Kill a daemon; it is started again at once."""
        self.ledger.kills[name] += self.box.daemons[name].kill()

    def kill_one(self, found: list[psutil.Process], what: str) -> None:
        """Kill one of these processes."""
        if found:
            with contextlib.suppress(psutil.Error):
                self.dice.choice(found).send_signal(signal.SIGKILL)
                self.ledger.kills[what] += 1

    def fill(self) -> None:
        """Fill the disk of the home for a second or two."""
        path = self.box.home / "filler"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as out:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        out.write(b"\0" * size)
        self.ledger.troubles["disk"] += 1
        self.later(1.5, lambda: path.unlink(missing_ok=True))

    def step_clock(self) -> None:
        """Let the daemons' wall clock jump, and back later."""
        path = self.box.armed / "clock"
        path.write_text(str(self.dice.choice((7200, -7200, 86400, -86400))))
        self.ledger.troubles["clock step"] += 1
        self.later(3, lambda: path.write_text("0"))

    def break_gpus(self) -> None:
        """Let GPUs fall off the bus, or be taken by others, for a while."""
        gpu = self.dice.randrange(8)
        path = self.box.home / "simulated.json"
        with contextlib.suppress(OSError):
            path.write_text(
                json.dumps(
                    self.dice.choice(
                        ({"faults": [{"gpu": gpu}]}, {"outsiders": [{"gpu": gpu}]}, {"mig": [gpu]})
                    )
                )
            )
        self.ledger.troubles["GPU fault"] += 1
        self.later(2, lambda: path.unlink(missing_ok=True))

    def later(self, seconds: float, what: Any) -> None:
        """End a trouble after a while."""
        self._mending.append((time.monotonic() + seconds, what))

    def mend(self, *, everything: bool = False) -> None:
        """End the troubles whose time is over."""
        now = time.monotonic()
        over = [one for one in self._mending if everything or one[0] <= now]
        self._mending = [one for one in self._mending if one not in over]
        for _, what in over:
            what()
        if everything:
            for point in self._armed:
                (self.box.armed / point).unlink(missing_ok=True)

    # The ledger

    def count(self) -> None:
        """Count the processes that have died at named points."""
        for path in self.box.armed.glob("hit.*"):
            point = path.name[4:].rpartition(".")[0]
            path.unlink(missing_ok=True)
            self._armed.discard(point)
            self.ledger.kills[point] += 1

    def look(self) -> None:
        """Check the ledger now."""
        with contextlib.suppress(OSError):
            if (self.box.home / "berth.db").exists():
                self.ledger.look(self.box.home / "berth.db")
        for name, daemon in self.box.daemons.items():
            with contextlib.suppress(psutil.Error):
                if daemon.pid is None:
                    continue
                process = psutil.Process(daemon.pid)
                size = process.memory_info().rss >> 20
                self.ledger.memory.append((name, size, process.num_fds()))

    def wait(self, condition: Any, seconds: float) -> bool:
        """Wait for something; False when it did not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.count()
            if condition():
                return True
            time.sleep(0.05)
        return False

    def settle(self, seconds: float = 240) -> None:
        """Wait until everything has ended, and compare."""
        if not self.wait(self.box.ready, 90):
            self.ledger.break_("the box is not ready after the last trouble")
        jobs: dict[int, dict[str, Any]] = {}

        def ended() -> bool:
            for job_id in self.ledger.acknowledged:
                if jobs.get(job_id, {}).get("state") not in FINAL:
                    with contextlib.suppress(*_LOST):
                        status, job = self.box.call("GET", f"/jobs/{job_id}")
                        if status == 200:
                            jobs[job_id] = job
                    if jobs.get(job_id, {}).get("state") not in FINAL:
                        return False
            return True

        self.wait(ended, seconds)
        self.ledger.settle(jobs)
        self.followers.end()
        if not self.wait(lambda: not self._left(), 60):
            self.ledger.break_(f"left behind: {self._left()}")
        self.look()

    def _left(self) -> list[str]:
        """Return what is there although all jobs have ended."""
        left = [f"process {one.pid} of job {job}" for one, job in self.box.attempts()]
        left += [f"lock of GPU {gpu}" for gpu in self.box.locked()]
        with contextlib.suppress(*_LOST):
            _, box = self.box.call("GET", "/gpus")
            held = [gpu["index"] for gpu in box["gpus"] if gpu["holder"]["kind"] != "free"]
            left += [f"GPU {index}" for index in held]
        return left


def main() -> int:
    """Run for the time given; print the ledger; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--kills", type=int, default=1_000_000, help="stop after so many")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--followers", type=int, default=500)
    parser.add_argument("--boxes", type=int, default=1, help="so many side by side")
    parser.add_argument("--points", action="store_true", help="each named point once")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    report = _side_by_side(options) if options.boxes > 1 else _alone(options)
    if report is None:
        return 1
    print(json.dumps(report, indent=1), flush=True)
    return 1 if report["promises broken"] else 0


def _side_by_side(options: argparse.Namespace) -> dict[str, Any] | None:
    """Run several boxes, each a process of its own; their reports together."""
    with tempfile.TemporaryDirectory(prefix="berth-soaks-") as folder:
        paths = [Path(folder, f"{number}.json") for number in range(options.boxes)]
        boxes = [
            subprocess.Popen(
                [
                    *(sys.executable, __file__, "--report", str(path)),
                    *("--minutes", str(options.minutes), "--seed", str(options.seed + number)),
                    *("--kills", str(math.ceil(options.kills / options.boxes))),
                    *("--followers", str(options.followers // options.boxes)),
                ]
            )
            for number, path in enumerate(paths)
        ]
        for box in boxes:
            box.wait()
        reports = [json.loads(path.read_text()) for path in paths if path.exists()]
    return together(reports) if len(reports) == options.boxes else None


def _alone(options: argparse.Namespace) -> dict[str, Any] | None:
    print(f"seed {options.seed}", flush=True)
    soak = Soak(options.seed, options.followers)
    began = time.monotonic()
    try:
        soak.box.start()
        soak.followers.start()
        if not soak.wait(soak.box.ready, 120):
            print((soak.box.folder / "server.log").read_text(errors="replace")[-4000:])
            return None
        if options.points:
            for point in soak.each_point():
                soak.ledger.break_(f"no process came to {point}")
        else:
            soak.run(options.minutes, options.kills)
        soak.settle()
        report = soak.ledger.report((time.monotonic() - began) / 60, options.seed)
        if options.report:
            options.report.write_text(json.dumps(report))
        if soak.ledger.broken and os.environ.get("BERTH_SOAK_KEEP"):
            print(f"kept: {soak.box.folder}\n{json.dumps(report, indent=1)}", flush=True)
            os._exit(1)
        return report
    finally:
        soak.box.close()


if __name__ == "__main__":
    sys.exit(main())
