"""
Real launchers driven by the commands that Berth makes of them: a part of `make launchers`.

Each is installed, beside this environment's torch, in a temporary environment; its rewritten
command starts `ranks.py` on the CPU. Where a launcher starts a script of its own package, `ranks.py`
runs in its ranks' place, right at the start of their interpreters. What is compared are the facts
on which the table rests: how many ranks start, on which port they meet, what their arguments are,
and the code of a failed one.
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
STAND_IN = Path(__file__).with_name("stand_in.py")
_ARGUMENTS = ("--name", "it's a test", "--lr", "3")
_WORDS = '--name "it\'s a test" --lr 3'


@dataclass(frozen=True)
class Driven:
    """One launcher, and what is known of it."""

    line: str
    """As pasted, with another number of ranks than the job gets."""
    code: int
    """Exit code when rank 1 leaves with 7 and the others wait to be ended."""
    requirements: tuple[str, ...] = ()
    """Beside what this environment has."""
    alone: tuple[str, ...] = ()
    """Installed without what they require."""
    stand_ins: tuple[str, ...] = ()
    """Packages that its package imports and that its launcher does not use."""
    own_script: bool = False
    """True if it starts a script of its own package."""
    on_leased_port: bool = True
    arguments: tuple[str, ...] = _ARGUMENTS
    """What every rank gets, one after the other."""


LAUNCHERS = {
    "torchrun": Driven(f"torchrun --nproc_per_node=4 ranks.py {_WORDS}", 1),
    "torchrun with options in a variable": Driven(
        f'A="$(echo --nproc_per_node=4 --master_port=1)"; torchrun $A ranks.py {_WORDS}',
        1,
        on_leased_port=False,
    ),
    "accelerate": Driven(f"accelerate launch --num_processes 4 ranks.py {_WORDS}", 1),
    "deepspeed": Driven(f"deepspeed --num_gpus=4 --no_local_rank ranks.py {_WORDS}", 7),
    "fabric": Driven(
        f"fabric run --devices=4 --accelerator=cpu ranks.py {_WORDS}",
        1,
        requirements=("lightning==2.6.6",),
    ),
    "torchtune": Driven(
        f"tune run --nproc_per_node 4 ranks.py --config c.yaml {_WORDS}",
        1,
        requirements=("torchtune==0.6.1", "torchao==0.10.0"),
        on_leased_port=False,
        arguments=("--config", "c.yaml", *_ARGUMENTS),
    ),
    "trl": Driven(
        'trl sft --num_processes 4 --run_name "it\'s a test" --use_cpu True',
        1,
        requirements=("trl==1.16.0",),
        own_script=True,
        arguments=("--run_name", "it's a test", "--use_cpu", "True"),
    ),
    "llamafactory": Driven(
        'NPROC_PER_NODE=4 llamafactory-cli train c.yaml run_name="it\'s a test"',
        1,
        alone=("llamafactory==0.9.5",),
        own_script=True,
        arguments=("c.yaml", "run_name=it's", "a", "test"),
    ),
    "axolotl": Driven(
        'axolotl train c.yaml --num-processes 4 --wandb-name "it\'s a test"',
        1,
        requirements=("colorama",),
        alone=("axolotl==0.19.0",),
        own_script=True,
        arguments=("c.yaml", "--wandb-name=it's a test"),
    ),
    "axolotl with torchrun": Driven(
        "axolotl train c.yaml --launcher torchrun -- --nproc_per_node=4",
        1,
        requirements=("colorama",),
        alone=("axolotl==0.19.0",),
        own_script=True,
        arguments=("c.yaml",),
    ),
    "composer": Driven(
        f"composer -n 4 ranks.py {_WORDS}",
        256 - 15,
        requirements=("importlib_metadata",),
        alone=("mosaicml==0.32.1",),
        stand_ins=(
            "torchvision",
            "torchmetrics",
            "torch_optimizer",
            "streaming",
            "coolname",
            "mcli",
        ),
    ),
    "colossalai": Driven(
        f"colossalai run --nproc_per_node 4 ranks.py {_WORDS}",
        1,
        requirements=("fabric==3.2.2", "click"),
        alone=("colossalai==0.5.0",),
    ),
    "swift": Driven(
        'NPROC_PER_NODE=4 swift sft --run_name "it\'s a test" --lr 3',
        1,
        requirements=("modelscope",),
        alone=("ms-swift==4.6.0",),
        own_script=True,
        arguments=("--run_name", "it's a test", "--lr", "3"),
    ),
    "mpirun": Driven(f"mpirun -np 2 python ranks.py {_WORDS}", 7, requirements=("mpich==5.0.2",)),
}
_COMMANDS = {
    "torchrun": "from torch.distributed.run import main; main()",
    "accelerate": "from accelerate.commands.accelerate_cli import main; main()",
}
"""The commands that launchers call by name, for the temporary environment's interpreter."""


def environment(folder: Path, driven: Driven) -> Path:
    """Return an environment that has this one's packages and the launcher's."""
    target = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(target)}))
    (packages / "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    python = str(target / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    if driven.requirements:
        subprocess.run([*pip, *driven.requirements], check=True)
    if driven.alone:
        subprocess.run([*pip, "--no-deps", *driven.alone], check=True)
    for name, code in _COMMANDS.items():
        command = target / "bin" / name
        command.write_text(f"#!{python}\n{code}\n")
        command.chmod(0o755)
    if driven.stand_ins:
        (packages / "stand_in.py").write_text(STAND_IN.read_text())
        (packages / "stand_in.pth").write_text("import stand_in\n")
    if driven.own_script:
        (packages / "in_place.py").write_text(
            "import os, runpy\n"
            "if os.environ.get('LOCAL_RANK'):\n"
            f"    runpy.run_path({str(folder / 'ranks.py')!r})\n"
        )
        (packages / "in_place.pth").write_text("import in_place\n")
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
        "STAND_INS": " ".join(driven.stand_ins),
        "OUT": str(out),
        "FAIL": fail,
    }
    done = subprocess.run(
        made.argv, env=own, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    ranks = [json.loads(path.read_text()) for path in sorted(out.iterdir())]
    if not ranks:
        print(done.stdout[-500:], done.stderr[-1500:], sep="\n", file=sys.stderr)
    return done.returncode % 256, port, ranks


def differences(name: str, driven: Driven) -> list[str]:
    """Return what is not as recorded."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            env = environment(folder, driven)
        except subprocess.CalledProcessError:
            return [f"{name} cannot be installed"]
        code, port, ranks = run(driven, env, folder)
        failed, _, _ = run(driven, env, folder, fail="1")
    found = [f"{name} ends with {code}"] if code else []
    if len(ranks) != 2:
        found.append(f"{name} starts {len(ranks)} ranks on two GPUs")
    if any((rank["MASTER_PORT"] == str(port)) != driven.on_leased_port for rank in ranks):
        found.append(f"{name}: the port is {ranks[0]['MASTER_PORT']}, leased was {port}")
    if not all(_within(driven.arguments, rank["argv"]) for rank in ranks):
        found.append(f"{name}: the arguments are {ranks[0]['argv']}")
    if failed != driven.code:
        found.append(f"{name}: the code of a failed rank is {failed}, recorded {driven.code}")
    return found


def _within(words: tuple[str, ...], argv: list[str]) -> bool:
    places = range(len(argv) - len(words) + 1)
    return any(tuple(argv[at : at + len(words)]) == words for at in places)


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
