"""A lab's ordinary afternoon on a box of simulated GPUs, to look at and to take pictures of."""

from __future__ import annotations

import http.client
import json
import os
import pwd
from typing import Any

from box import Box

TRAIN = """#!/usr/bin/env python3
import json, math, os, random, sys, time
rate, steps, pause, floor, seed = (float(a) for a in sys.argv[1:6])
random.seed(seed)
rank = int(os.environ.get("LOCAL_RANK", "0"))
out = open(os.path.join(os.environ["BERTH_RUN_DIR"], "metrics.jsonl"), "a") if rank == 0 else None
began = time.time()
if rank == 0:
    print("\\x1b[36mINFO\\x1b[0m DeepSpeed ZeRO-3, bf16, global batch 64", flush=True)
for step in range(1, int(steps) + 1):
    loss = floor + 2.1 * math.exp(-step * rate * 60) + random.gauss(0, 0.03)
    if rank == 0:
        point = {"step": step, "time": began + step * 4.2, "loss": loss, "grad_norm": 1 + random.random(),
                 "learning_rate": rate * max(0.0, 1 - step / steps),
                 "tokens_per_second": 15200 + random.gauss(0, 150)}
        if step % 25 == 0:
            point["eval_loss"] = loss + 0.08
        print(json.dumps(point), file=out, flush=True)
        done = int(30 * step / steps)
        print(f"\\r\\x1b[32m{100 * step // int(steps):3d}%\\x1b[0m|{'█' * done}{' ' * (30 - done)}| "
              f"{step}/{int(steps)} loss={loss:.3f}", end="", flush=True)
        if step % 25 == 0:
            print(f"\\n\\x1b[36mINFO\\x1b[0m saved checkpoint-{step} (3.1 GB) in 4.2 s", flush=True)
    elif step % 25 == 0:
        print(f"[rank{rank}]: gradients reduced at step {step}", flush=True)
    # The first steps fly, so that there is something to see at once.
    time.sleep(pause if step > 400 else min(pause, 0.004))
"""

OOM = """echo "INFO loading meta-llama/Llama-3.1-8B"
cat <<'END'
Traceback (most recent call last):
  File "/home/ada/twin/train.py", line 212, in <module>
    trainer.train()
  File "/home/ada/twin/loop.py", line 88, in train
    loss = model(**batch).loss
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.21 GiB is free.
END
exit 1
"""


def ranks(command: str, count: int) -> str:
    """A script that starts `count` ranks of a command."""
    return f"for r in $(seq 0 {count - 1}); do LOCAL_RANK=$r {command} & done; wait"


def fill(box: Box, users: dict[str, int]) -> dict[str, int]:
    """Submit the afternoon's jobs as these users; returns the ids of those worth showing."""
    train = box.home / "train.py"
    train.write_text(TRAIN)
    train.chmod(0o755)
    names = list(users) or [pwd.getpwuid(os.geteuid()).pw_name]
    who = lambda i: names[i % len(names)]  # noqa: E731 - three letters keep the table below legible

    def submit(user: int, script: str, **fields: object) -> int:
        spec = {"script": script, "workdir": "/tmp", "grace": "2s", **fields}
        return int(_as_user(box, users.get(who(user)), "POST", "/jobs", spec)["id"])

    sweep = [
        submit(
            0,
            f"python3 {train} {rate} 300 0.001 {floor + seed * 0.01} {seed}",
            gpus=1,
            name=f"persona lr={rate} seed={seed}",
            labels={"ablation": "persona-lr", "lr": rate, "seed": str(seed)},
        )
        for rate, floor in (("1e-4", 0.62), ("3e-4", 0.48), ("1e-3", 0.55))
        for seed in (1, 2)
    ]
    failed = submit(
        0, OOM, gpus=1, name="persona full-context", labels={"ablation": "persona-lr", "lr": "3e-4"}
    )
    for job in (*sweep, failed):
        box.wait_state(job, "succeeded", "failed")
    long = f"python3 {train} 0.0003 4000 0.25 0.5 1"
    twin = submit(
        0,
        ranks(long, 4),
        gpus=4,
        name="twin-history",
        time_limit="12h",
        labels={"ablation": "twin", "prompt": "history"},
    )
    evaluation = submit(
        1,
        ranks(f"python3 {train} 0.001 9000 0.5 0.7 2", 2),
        gpus=2,
        name="eval-dialogue",
        time_limit="2h",
    )
    box.wait_state(twin, "running")
    box.wait_state(evaluation, "running")
    profile = submit(
        0,
        long,
        gpus=4,
        name="twin-profile",
        time_limit="12h",
        labels={"ablation": "twin", "prompt": "profile"},
    )
    submit(2, long, gpus=8, name="pretrain-small", time_limit="8h")
    submit(1, long, gpus=1, name="notebook-export", hold=True)
    submit(2, long, gpus=2, name="distil-after-twin", depends_on=[twin], time_limit="3h")
    box.call(
        "POST",
        f"/gpus/{box.get('/gpus')['gpus'][7]['uuid']}/drain",
        {"reason": "new fan on Thursday"},
    )
    box.simulate(
        {
            "outsiders": [
                {
                    "gpu": 6,
                    "pid": 31337,
                    "user": "carol",
                    "command": "python -m ipykernel",
                    "memory": "31GiB",
                }
            ]
        }
    )
    box.wait(lambda: box.get("/gpus")["gpus"][6]["holder"]["kind"] == "outsider", "the outsider")
    return {"running": twin, "queued": profile, "failed": failed, "ended": sweep[0]}


def _as_user(box: Box, uid: int | None, method: str, path: str, body: object) -> Any:
    """A call over the socket as somebody else: the server asks the kernel who is calling."""
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
