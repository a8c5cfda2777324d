"""A lab's ordinary afternoon on a box of simulated GPUs, to take pictures of."""

from __future__ import annotations

import http.client
import json
import math
import os
import pwd
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from box import Box

from berth.protocol.base import utc_now
from berth.protocol.gpus import BoxSnapshot, GpuSnapshot
from berth_server.service.gpus.telemetry import FINE, GpuTelemetry

TRAIN = r"""#!/usr/bin/env python3
import argparse, json, math, os, random, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-4)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--prompt", default="history")
parser.add_argument("--config")
given = parser.parse_args()
best = {1e-4: 0.62, 3e-4: 0.48, 1e-3: 0.55}.get(given.lr, 0.5) + given.seed * 0.01
random.seed(given.seed)
rank = int(os.environ.get("LOCAL_RANK", "0"))
out = open(os.path.join(os.environ["BERTH_RUN_DIR"], "metrics.jsonl"), "a") if rank == 0 else None
began = time.time()
if rank == 0:
    print("\x1b[36mINFO\x1b[0m DeepSpeed ZeRO-3, bf16, global batch 64", flush=True)
for step in range(1, given.steps + 1):
    loss = best + 2.1 * math.exp(-step * given.lr * 60) + random.gauss(0, 0.03)
    if rank == 0:
        point = {"step": step, "time": began + step * 4.2, "loss": loss,
                 "grad_norm": 1 + random.random(),
                 "learning_rate": given.lr * max(0.0, 1 - step / given.steps),
                 "tokens_per_second": 15200 + random.gauss(0, 150)}
        if step % 25 == 0:
            point["eval_loss"] = loss + 0.08
        print(json.dumps(point), file=out, flush=True)
        done = int(30 * step / given.steps)
        print(f"\r\x1b[32m{100 * step // given.steps:3d}%\x1b[0m|{'█' * done}{' ' * (30 - done)}| "
              f"{step}/{given.steps} loss={loss:.3f}", end="", flush=True)
        if step % 25 == 0:
            print(f"\n\x1b[36mINFO\x1b[0m saved checkpoint-{step} (3.1 GB) in 4.2 s", flush=True)
    elif step % 200 == 0:
        print(f"\n[rank{rank}]: 4 steps skipped so far, loss scale 65536", flush=True)
    # The first steps fly, so that there is something to see at once.
    time.sleep(0.3 if step > 400 else 0.003)
"""

# What `deepspeed` becomes under Berth, as far as a picture needs it: a process per rank.
LAUNCH = """
import os, subprocess, sys
script = next(i for i, word in enumerate(sys.argv) if word.endswith(".py") and i)
for rank, _ in enumerate(os.environ["CUDA_VISIBLE_DEVICES"].split(",")):
    subprocess.Popen([sys.executable, *sys.argv[script:]], env={**os.environ, "LOCAL_RANK": str(rank)})
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""

FULL_CONTEXT = '''
print("INFO loading meta-llama/Llama-3.1-8B")
print("""Traceback (most recent call last):
  File "/srv/ada/twin/full_context.py", line 212, in <module>
    trainer.train()
  File "/srv/ada/twin/loop.py", line 88, in train
    loss = model(**batch).loss
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.21 GiB is free.""")
raise SystemExit(1)
'''


@dataclass
class Lab:
    """The people of the box, their folders and what they submit."""

    box: Box
    users: dict[str, int]
    """Names and uids; empty if this runs without root."""
    root: Path
    """Everybody has a folder of their name there."""

    def fill(self) -> dict[str, int]:
        """Submit the afternoon's jobs; returns the ids of those worth showing."""
        names = list(self.users) or [pwd.getpwuid(os.geteuid()).pw_name] * 3
        me = pwd.getpwuid(os.geteuid()).pw_name
        for name in {*names, me}:
            self._furnish(name)
        ada, bob, eve = names
        seeds = [
            self.submit(
                ada,
                f"python train.py --lr {rate} --seed {seed}",
                gpus=1,
                name=f"persona lr={rate} seed={seed}",
                labels={"ablation": "persona-lr", "lr": rate, "seed": str(seed)},
            )
            for rate in ("1e-4", "3e-4", "1e-3")
            for seed in (1, 2)
        ]
        failed = self.submit(
            ada,
            "python full_context.py",
            gpus=1,
            name="persona full-context",
            labels={"ablation": "persona-lr", "lr": "3e-4"},
        )
        for job in (*seeds, failed):
            self.box.wait_state(job, "succeeded", "failed")
        launch = "deepspeed --num_gpus={} --master_port 29500 train.py --steps 4000 --prompt {}"
        twin = self.submit(
            ada,
            "CUDA_VISIBLE_DEVICES=0,1,2,3 " + launch.format(4, "history"),
            name="twin-history",
            time_limit="12h",
            labels={"ablation": "twin", "prompt": "history"},
        )
        evaluation = self.submit(
            bob, launch.format(2, "dialogue"), name="eval-dialogue", time_limit="2h"
        )
        self.box.wait_state(twin, "running")
        self.box.wait_state(evaluation, "running")
        profile = self.submit(
            ada,
            launch.format(4, "profile"),
            name="twin-profile",
            time_limit="12h",
            labels={"ablation": "twin", "prompt": "profile"},
        )
        self.submit(eve, launch.format(8, "none"), name="pretrain-small", time_limit="8h")
        self.submit(bob, "python train.py", gpus=1, name="notebook-export", hold=True)
        self.submit(
            eve,
            launch.format(2, "none"),
            name="distil-after-twin",
            depends_on=[twin],
            time_limit="3h",
        )
        self.submit(bob, "python train.py", gpus=1, name="sanity-check", time_limit="30m")
        # Other users may not run this user's Python, so the frozen code is this user's own.
        frozen = self.submit(
            me, "python train.py", gpus=1, name="persona-frozen", hold=True, snapshot=True
        )
        self._reserve(eve)
        self._disturb()
        return {
            "running": twin,
            "queued": profile,
            "failed": failed,
            "ended": seeds[0],
            "frozen": frozen,
        }

    def submit(self, user: str, command: str, **fields: object) -> int:
        """Submit a command as one of the users."""
        home = self.root / user
        spec = {
            "command": command,
            "workdir": str(home / "twin"),
            "python": str(home / "envs" / "twin"),
            "grace": "2s",
            **fields,
        }
        return int(_as_user(self.box, self.users.get(user), "POST", "/jobs", spec)["id"])

    def _furnish(self, user: str) -> None:
        twin = self.root / user / "twin"
        launcher = twin / "deepspeed" / "launcher"
        launcher.mkdir(parents=True, exist_ok=True)
        (launcher / "launch.py").write_text(LAUNCH)
        (twin / "train.py").write_text(TRAIN)
        (twin / "full_context.py").write_text(FULL_CONTEXT)
        self._edit(twin, self.users.get(user, os.geteuid()))
        programs = self.root / user / "envs" / "twin" / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        # Root's own interpreter may lie in a home that no other user can enter.
        shared = shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin")
        (programs / "python").symlink_to(shared or sys.executable)

    def _edit(self, twin: Path, uid: int) -> None:
        """Make it a git work tree with uncommitted changes."""
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "safe.directory=*"]
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "begin"]):
            subprocess.run(["git", "-C", twin, *who, *words], check=True)
        train = twin / "train.py"
        train.write_text(train.read_text().replace("default=3e-4)", "default=1e-4)"))
        (twin / "notes.md").write_text("# Persona\nProfiles first, then the history.\n")
        for path in (twin, *twin.rglob("*")):
            os.chown(path, uid, -1)

    def _reserve(self, user: str) -> None:
        """Two GPUs are reserved from tonight on."""
        begins = utc_now() + timedelta(hours=5)
        wish = {
            "gpus": ["4", "5"],
            "users": [user],
            "starts_at": begins.isoformat(),
            "ends_at": (begins + timedelta(hours=14)).isoformat(),
            "reason": "camera-ready runs",
        }
        self.box.call("POST", "/reservations", wish)

    def _disturb(self) -> None:
        """An external process is on one GPU, and another GPU is being drained."""
        box = self.box
        gpus = box.get("/gpus")["gpus"]
        drained = gpus[7]["uuid"]
        box.call("POST", f"/gpus/{drained}/drain", {"reason": "new fan on Thursday"})
        outsider = {"gpu": 6, "pid": 31337, "user": "carol", "command": "python -m ipykernel"}
        loads = [(0, 71, 98), (1, 70, 97), (2, 71, 98), (3, 70, 95), (4, 38, 64), (5, 37, 61)]
        box.simulate(
            {
                "outsiders": [{**outsider, "memory": "31GiB"}],
                "loads": [
                    {"gpu": gpu, "memory": f"{memory}GiB", "utilization": busy}
                    for gpu, memory, busy in loads
                ],
            }
        )
        _remember_an_hour(box, gpus, [busy for _, _, busy in loads])
        box.wait(
            lambda: box.get("/gpus")["gpus"][6]["holder"]["kind"] == "outsider", "the outsider"
        )


def _remember_an_hour(box: Box, gpus: list[dict[str, Any]], busy: list[int]) -> None:
    """Write the last hour of a box that has worked, as its server would have."""
    history = GpuTelemetry(box.home / "history")
    now = time.time()
    began = [0.1, 0.1, 0.1, 0.1, 0.4, 0.4, 0.7, 2.0]
    for at in range(int(now) - 3600, int(now) - FINE.step_s, FINE.step_s):
        share = (at - now + 3600) / 3600
        seen = []
        for gpu, load, start in zip(gpus, [*busy, 97, 0], began, strict=True):
            # Evaluations and checkpoints let the GPUs idle for a moment.
            dip = 45 if load and math.sin(share * 40 + gpu["index"]) > 0.96 else 0
            now_busy = max(0, load - dip + random.randint(-3, 2)) if share > start else 0
            facts = {k: gpu[k] for k in ("uuid", "index", "name", "memory_total_bytes")}
            seen.append(
                GpuSnapshot(
                    **facts,
                    memory_used_bytes=(61 if now_busy else 0) * 1024**3,
                    utilization_percent=min(100, now_busy),
                    temperature_c=31 + now_busy * 42 // 100,
                    power_w=70 + now_busy * 5.7,
                )
            )
        history.take(BoxSnapshot(taken_at=utc_now(), source="simulated", gpus=tuple(seen)), at)


def _as_user(box: Box, uid: int | None, method: str, path: str, body: object) -> Any:
    """A call over the socket as another user: the server gets the uid from the kernel."""
    if uid is None:
        return box.call(method, path, body)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(uid)
            os.setuid(uid)
            os.write(writing, json.dumps(box.call(method, path, body)).encode())
        except (AssertionError, OSError, http.client.HTTPException) as error:
            os.write(2, f"{error}\n".encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)
