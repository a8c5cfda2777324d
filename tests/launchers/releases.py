"""
Check of the launchers' recorded facts against their releases: `make launchers`, outside CI.

Installs each package, by itself, in a temporary folder, and looks for the lines of its source on
which `docs/launchers.md` and `berth.commands.launchers` rest. A release that changed one is named.
With `--newest` the newest release is taken instead of the recorded one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

FACTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "llamafactory==0.9.5": (
        "llamafactory/launcher.py",
        ('os.getenv("NPROC_PER_NODE"', 'os.getenv("MASTER_PORT"', '"FORCE_TORCHRUN"', ".split(),"),
    ),
    "axolotl==0.19.0": (
        "axolotl/cli/utils/train.py",
        ('["accelerate", "launch"] + all_launcher_args', 'kwargs.pop("num_processes")', "execvpe"),
    ),
    "torchtune==0.6.1": (
        "torchtune/_cli/run.py",
        ("if not args.rdzv_endpoint:", "args.standalone = True", "get_torchrun_args_parser"),
    ),
    "trl==1.16.0": (
        "trl/cli/commands/training.py",
        ("config_remaining + cli_remaining", "resolve_accelerate_config_argument"),
    ),
    "lightning==2.6.6": (
        "lightning/fabric/cli.py",
        ("default=29400", 'default="1"', "--master_port={args.main_port}"),
    ),
    "mosaicml==0.32.1": (
        "composer/cli/launcher.py",
        ("'--nproc'", "'LOCAL_WORLD_SIZE' in os.environ", "'MASTER_PORT' in os.environ"),
    ),
    "ms-swift==4.6.0": (
        "swift/cli/main.py",
        ("os.getenv('NPROC_PER_NODE')", "config.pop('ENV', None)", "if k not in os.environ:"),
    ),
}
"""Release, file, and what has to stand in it."""


def check(requirement: str, file: str, lines: tuple[str, ...]) -> list[str]:
    """Install one package and return what is not as recorded."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
        if done.returncode:
            return [f"{requirement} cannot be installed: {done.stderr.strip()[-200:]}"]
        source = Path(folder, file)
        text = source.read_text(encoding="utf-8") if source.exists() else ""
    return [f"{requirement}: {file} has no {line!r} any more" for line in lines if line not in text]


def main() -> int:
    """Check every recorded fact; 1 when one has changed."""
    newest = "--newest" in sys.argv[1:]
    changed: list[str] = []
    for requirement, (file, lines) in FACTS.items():
        wanted = requirement.partition("==")[0] if newest else requirement
        found = check(wanted, file, lines)
        print(f"{wanted}: {'as recorded' if not found else 'CHANGED'}", flush=True)
        changed += found
    print("\n".join(changed))
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
