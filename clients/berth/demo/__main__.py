"""
The main job from end to end: set up a workspace, start Berth, submit two pasted commands over
REST, watch both train, compare them. `python -m berth.demo --help` shows the few choices.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from berth import BerthError, Client
from berth.demo.cluster import DemoCluster
from berth.demo.report import report
from berth.demo.stage import Stage, StageError
from berth.demo.watch import watch
from berth.protocol.jobs import Job
from berth.protocol.specs import JobSpec
from berth.protocol.states import JobState

COMMANDS = (
    (
        "deepspeed --num_gpus=4 train_deepspeed.py --config config.json"
        " --ablation_config profile_and_history"
    ),
    (
        "CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch --num_processes=4 train_deepspeed.py"
        " --config config_realpersonachat.json"
        " --ablation_config profile_and_history_and_context --output_dir outputs/all_three_parts"
    ),
)
"""Two users' commands, unchanged. Both would use port 29500."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return 0 when both runs succeeded."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="folder for everything")
    parser.add_argument("--gpus", help="as BERTH_GPUS: nvml, sim:8 (default: real ones if eight)")
    parser.add_argument(
        "--slurm", action="store_true", help="on a small Slurm cluster that is started for it"
    )
    parser.add_argument("--keep", action="store_true", help="leave Berth running at the end")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    folder = options.folder.resolve()
    # Four GPUs a node: each of the two runs fills one.
    cluster = DemoCluster(folder / "cluster", nodes=2, gpus=4) if options.slurm else None
    stage = Stage(folder, console, cluster)
    try:
        stage.set_up(options.gpus)
        with Client(stage.url) as client:
            return _play(stage, client, console, keep=options.keep)
    except KeyboardInterrupt:
        console.print("\nInterrupted. Stopping both runs and Berth; `make demo` starts again.")
        stage.tear_down(jobs="cancel")
        return 130
    except (StageError, BerthError) as error:
        console.print(f"[red]{error}[/red]")
        stage.tear_down(jobs="cancel")
        return 1


def _play(stage: Stage, client: Client, console: Console, *, keep: bool) -> int:
    console.print("\nTwo users submit over REST the commands they would have typed:")
    for command in COMMANDS:
        console.print(f"  [bold]$ {command}[/bold]", soft_wrap=True)
    submitted = client.submit(
        [
            JobSpec(command=command, workdir=str(stage.workspace), labels={"ablation": "demo"})
            for command in COMMANDS
        ]
    )
    ids = list(submitted.ids)
    console.print(f"POST /api/v1/jobs answered 201: jobs {' and '.join(map(str, ids))}.\n")
    ended = watch(client, ids, console)
    report(client, ended, stage, console)
    if keep:
        console.print(f"Berth keeps running: {stage.sign_in_link()}")
        console.print(f"Stop it with: BERTH_HOME={stage.home} .venv/bin/berth down")
    else:
        stage.tear_down(jobs="cancel")
    return 0 if all(_succeeded(job) for job in ended) else 1


def _succeeded(job: Job) -> bool:
    return job.state is JobState.SUCCEEDED


if __name__ == "__main__":
    sys.exit(main())
