"""
Ledger of promises, kept outside Berth: what was acknowledged, what the jobs themselves saw.

Each job locks a file for each of its GPUs as long as any process of it lives, and writes a line
before its first and after its last command. Nothing of this goes through Berth, so Berth cannot
be wrong about it in the same way.
"""

from __future__ import annotations

import collections
import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FINAL = {"succeeded", "failed", "cancelled"}
# 10 and up: each GPU's lock, held by everything that the job starts.
JOB = r"""
say() {{ echo "$@" >> {marks}; }}
holders() {{
  for p in /proc/[0-9]*; do
    ls -l $p/fd 2> /dev/null | grep -q "locks/$1\$" && echo "${{p#/proc/}}:$(tr '\0 ' '__' < $p/cmdline | tail -c 60)"
  done
}}
n=9
for gpu in $(echo "$BERTH_GPU_INDICES" | tr , ' '); do
  n=$((n+1)); eval "exec $n< {locks}/$gpu"; flock -n $n || say collision "$BERTH_ATTEMPT" "$gpu" $(holders $gpu)
done
say start "$BERTH_ATTEMPT" "$BERTH_GPU_INDICES"
{hostile}
sleep {pause}
say end "$BERTH_ATTEMPT" {code}
exit {code}
"""


@dataclass
class Ledger:
    """Everything promised so far, and everything done to break it."""

    folder: Path
    acknowledged: dict[int, int] = field(default_factory=dict)
    """Exit code by acknowledged job."""
    cancelled: set[int] = field(default_factory=set)
    refused: int = 0
    unanswered: int = 0
    attacks: dict[int, str] = field(default_factory=dict)
    """Shell line by job that attacks."""
    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    troubles: collections.Counter[str] = field(default_factory=collections.Counter)
    looks: int = 0
    broken: list[str] = field(default_factory=list)
    memory: list[tuple[str, int, int]] = field(default_factory=list)
    """Daemon, MiB and descriptors at each look."""
    seen_events: int = 0

    @property
    def marks(self) -> Path:
        """What the jobs wrote."""
        return self.folder / "marks"

    def script(self, *, code: int, pause: float, hostile: str) -> str:
        """Return the script of a job."""
        locks = self.folder / "locks"
        return JOB.format(marks=self.marks, locks=locks, code=code, pause=pause, hostile=hostile)

    def break_(self, what: str) -> None:
        """Note a broken promise, once."""
        if what not in self.broken:
            self.broken.append(what)
            print(f"BROKEN: {what}", flush=True)

    def look(self, database: Path) -> None:
        """Check what must be so at any moment, in the database itself."""
        self.looks += 1
        told = list(self.acknowledged)
        with contextlib.closing(
            sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)
        ) as connection:
            ask = connection.execute
            twice = ask(
                "SELECT gpu_uuid FROM leases WHERE released_at IS NULL "
                "GROUP BY gpu_uuid HAVING count(*) > 1"
            ).fetchall()
            known = {row[0] for row in ask("SELECT id FROM jobs")}
            events, newest = ask("SELECT count(*), coalesce(max(id), 0) FROM events").fetchone()
        if twice:
            self.break_(f"a GPU had two leases: {twice}")
        lost = set(told) - known
        if lost:
            self.break_(f"acknowledged and not there: {sorted(lost)[:5]}")
        if newest < self.seen_events or events > newest:
            self.break_(f"events went back from {self.seen_events} to {newest}")
        self.seen_events = newest
        self.marked()

    def marked(self) -> dict[str, dict[str, list[list[str]]]]:
        """Return what the jobs wrote, by attempt and word; note collisions and double starts."""
        found: dict[str, dict[str, list[list[str]]]] = {}
        for line in self.marks.read_text(errors="replace").splitlines():
            word, *rest = line.split()
            if rest:
                found.setdefault(rest[0], {}).setdefault(word, []).append(rest[1:])
        for attempt, words in found.items():
            if len(words.get("start", ())) > 1:
                self.break_(f"{attempt} ran twice")
            for one in words.get("collision", ()):
                self.break_(f"{attempt} started on a GPU that another job held: {' '.join(one)}")
        return found

    def settle(self, jobs: dict[int, dict[str, Any]]) -> None:
        """Compare the ends that Berth tells with what the jobs saw."""
        marks = self.marked()
        lost = 0
        for job_id, code in self.acknowledged.items():
            job = jobs.get(job_id)
            if job is None or job["state"] not in FINAL:
                self.break_(f"job {job_id} did not end: {job and job['state']}")
                continue
            attempt = f"{job_id}.{len(job['attempts'])}"
            words = marks.get(attempt, {})
            ended = [one[0] for one in words.get("end", ())]
            outcome, told = job["outcome"], job["exit_code"]
            lost += sum(one["outcome"] == "lost" for one in job["attempts"])
            what = f"job {job_id} is told as {job['state']}, {outcome}, {told}"
            seen = (
                f"; it wrote {words}, its attack was {self.attacks.get(job_id)}: {job['message']}"
            )
            if job["state"] == "succeeded" and ended != ["0"]:
                self.break_(f"{what}, but its last command did not run{seen}")
            elif outcome == "exit" and told is not None and told < 128 and ended != [str(told)]:
                self.break_(f"{what}, but it left with {ended or 'no code'}{seen}")
            elif outcome == "cancelled" and job_id not in self.cancelled:
                self.break_(f"{what}, but nobody cancelled it{seen}")
            elif outcome not in {"exit", "lost", "cancelled"} and not self.troubles["disk"]:
                self.break_(f"{what}{seen}")
            del code
        shims = sum(
            count for name, count in self.kills.items() if name.startswith(("shim", "job", "boot"))
        )
        if lost > shims:
            self.break_(f"{lost} attempts were told as lost, with {shims} shims killed")
        self.troubles["attempts told as lost"] = lost

    def state(self) -> str:
        """Return the present state in one line."""
        return (
            f"{sum(self.kills.values())} kills, {len(self.acknowledged)} jobs, "
            f"{len(self.cancelled)} cancels, {len(self.attacks)} hostile, "
            f"troubles {dict(self.troubles)}, broken: {self.broken or 'nothing'}"
        )

    def report(self, minutes: float, seed: int) -> dict[str, Any]:
        """Return everything."""
        most: dict[str, list[int]] = {}
        for name, mib, descriptors in self.memory:
            before = most.setdefault(name, [0, 0])
            most[name] = [max(before[0], mib), max(before[1], descriptors)]
        return {
            "minutes": round(minutes, 1),
            "seeds": [seed],
            "kills": sum(self.kills.values()),
            "kills by place": dict(sorted(self.kills.items())),
            "jobs acknowledged": len(self.acknowledged),
            "submits refused (full disk, overload)": self.refused,
            "submits without an answer": self.unanswered,
            "cancels": len(self.cancelled),
            "jobs that attack": len(self.attacks),
            "other troubles": dict(sorted(self.troubles.items())),
            "looks from outside": self.looks,
            "events": self.seen_events,
            "most MiB and descriptors": most,
            "promises broken": self.broken,
        }


def together(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the reports of several boxes as one: what is counted is added up."""
    first, *others = reports
    whole = dict(first)
    for one in others:
        for name, value in one.items():
            if name == "minutes":
                whole[name] = max(whole[name], value)
            elif name.startswith("most"):
                whole[name] = {
                    daemon: [
                        max(pair) for pair in zip(whole[name].get(daemon, most), most, strict=True)
                    ]
                    for daemon, most in value.items()
                }
            elif isinstance(value, dict):
                whole[name] = dict(
                    sorted((collections.Counter(whole[name]) + collections.Counter(value)).items())
                )
            else:
                whole[name] = whole[name] + value
    return whole
