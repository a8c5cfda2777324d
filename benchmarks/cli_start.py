"""
Start-up time of the command line, next to that of the bare interpreter.

    .venv/bin/python benchmarks/cli_start.py [ROUNDS]

Prints a Markdown table of wall times in milliseconds. Run on an otherwise idle machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

BERTH = [sys.executable, "-m", "berth.cli.main"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import berth'": [sys.executable, "-c", "import berth"],
    "berth --help": [*BERTH, "--help"],
    "berth submit --help": [*BERTH, "submit", "--help"],
    "berth ls, no server": [*BERTH, "ls"],
}


def main() -> None:
    """Measure each command so many times, interleaved, and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "BERTH_HOME": home}
        env.pop("BERTH_URL", None)
        for _ in range(rounds):
            for name, command in COMMANDS.items():
                began = time.perf_counter()
                subprocess.run(command, env=env, capture_output=True, check=False)
                times[name].append((time.perf_counter() - began) * 1000)
    print("| command | median ms | best ms | worst ms |\n|---|---|---|---|")
    for name, measured in times.items():
        middle = statistics.median(measured)
        print(f"| `{name}` | {middle:.0f} | {min(measured):.0f} | {max(measured):.0f} |")


if __name__ == "__main__":
    main()
