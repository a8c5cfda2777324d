"""
Real launchers driven by the commands that Berth makes of them: a part of `make launchers`.

Each is installed, beside this environment's torch, in a temporary environment; its rewritten
command starts `ranks.py` on the CPU. What is compared are the facts on which the table rests: how
many ranks start, on which port they meet, what their arguments are, and the code of a failed one.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from berth.commands import NEUTRAL_ACCELERATE_CONFIG, LeaseFacts, Runtime, read, rewrite

RANKS = Path(__file__).with_name("ranks.py")
_ARGUMENTS = ["--name", "it's a test", "--lr", "3"]
_WORDS = '--name "it\'s a test" --lr 3'


@dataclass(frozen=True)
class Driven:
    """One launcher, and what is known of it."""

    requirements: tuple[str, ...]
    """Beside what this environment has."""
    line: str
    """As pasted, with another number of ranks than the job gets."""
    code: int
    """Exit code when rank 1 leaves with 7."""
    on_leased_port: bool = True
    arguments: bool = True
    """True if the script gets its arguments as they were written."""


LAUNCHERS = {
    "torchrun": Driven((), f"torchrun --nproc_per_node=4 ranks.py {_WORDS}", 1),
    "accelerate": Driven((), f"accelerate launch --num_processes 4 ranks.py {_WORDS}", 1),
    "deepspeed": Driven((), f"deepspeed --num_gpus=4 --no_local_rank ranks.py {_WORDS}", 7),
    "fabric": Driven(
        ("lightning==2.6.6",),
        f"fabric run --devices=4 --accelerator=cpu ranks.py {_WORDS}",
        1,
    ),
    "torchtune": Driven(
        ("torchtune==0.6.1", "torchao==0.10.0"),
        f"tune run --nproc_per_node 4 ranks.py --config c.yaml {_WORDS}",
        1,
        on_leased_port=False,
        arguments=False,
    ),
    "mpirun": Driven(("mpich==5.0.2",), f"mpirun -np 2 python ranks.py {_WORDS}", 7),
}


def environment(folder: Path, requirements: tuple[str, ...]) -> Path:
    """Return an environment that has this one's packages and these."""
    target = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(target)}))
    (packages / "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    if requirements:
        python = str(target / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
        subprocess.run([*pip, *requirements], check=True)
    return target


def run(driven: Driven, env: Path, folder: Path, fail: str = "") -> tuple[int, int, list[dict]]:
    """Run the rewritten command; return its code, the leased port, and what each rank saw."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    (folder / "accelerate.yaml").write_text(NEUTRAL_ACCELERATE_CONFIG)
    (folder / "c.yaml").write_text("output_dir: .\n")
    (folder / "ranks.py").write_text(RANKS.read_text())
    out = folder / f"out{fail}"
    out.mkdir()
    made = rewrite(
        read(driven.line),
        LeaseFacts(indices=(0, 1), visible=(0, 1), port=port, simulated=True),
        Runtime(
            python=str(env / "bin" / "python"),
            accelerate_config=str(folder / "accelerate.yaml"),
        ),
    )
    outer = Path(sys.executable).parent
    own = {
        **os.environ,
        **made.env,
        "PATH": f"{env / 'bin'}:{outer}:{os.environ['PATH']}",
        "DS_ACCELERATOR": "cpu",
        "OUT": str(out),
        "FAIL": fail,
    }
    done = subprocess.run(
        made.argv, env=own, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    ranks = [json.loads(path.read_text()) for path in sorted(out.iterdir())]
    if not ranks:
        print(done.stdout[-500:], done.stderr[-1500:], sep="\n", file=sys.stderr)
    return done.returncode, port, ranks


def differences(name: str, driven: Driven) -> list[str]:
    """Return what is not as recorded."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            env = environment(folder, driven.requirements)
        except subprocess.CalledProcessError:
            return [f"{name} cannot be installed"]
        code, port, ranks = run(driven, env, folder)
        failed, _, _ = run(driven, env, folder, fail="1")
    found = [f"{name} ends with {code}"] if code else []
    if len(ranks) != 2:
        found.append(f"{name} starts {len(ranks)} ranks on two GPUs")
    if any((rank["MASTER_PORT"] == str(port)) != driven.on_leased_port for rank in ranks):
        found.append(f"{name}: the port is {ranks[0]['MASTER_PORT']}, leased was {port}")
    if driven.arguments and any(rank["argv"] != _ARGUMENTS for rank in ranks):
        found.append(f"{name}: the arguments are {ranks[0]['argv']}")
    if failed != driven.code:
        found.append(f"{name}: the code of a failed rank is {failed}, recorded {driven.code}")
    return found


def main() -> int:
    """Drive each launcher, or those that are named; 1 when one behaves otherwise than recorded."""
    wanted = sys.argv[1:] or [*LAUNCHERS]
    changed: list[str] = []
    for name in wanted:
        found = differences(name, LAUNCHERS[name])
        print(f"{name}: {'as recorded' if not found else '; '.join(found)}", flush=True)
        changed += found
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
