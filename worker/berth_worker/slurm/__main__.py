"""
Check of a cluster, as JSON: `python -m berth_worker.slurm`.

Asks the controller, and runs one small job on a node to see what only a node can tell. For
`berth doctor`.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from berth_worker.settings import SettingsError, load
from berth_worker.slurm import listing
from berth_worker.slurm.client import SlurmClient, UnansweredError
from berth_worker.slurm.listing import ClusterNode
from berth_worker.slurm.options import SlurmOptions

_NODE_S = 60
_CLOCK_S = 5.0
Finding = tuple[str, str, str, str | None]
"""Subject of the check, `ok`, `warn` or `fail`, the sentence, the fix."""


def main() -> int:
    """Print the findings; return the exit code."""
    try:
        settings = load()
        print(json.dumps(list(findings(SlurmClient(), settings.slurm, str(settings.home.folder)))))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def findings(client: SlurmClient, options: SlurmOptions, home: str) -> Iterator[Finding]:
    """Check the cluster: controller, nodes, accounting, processes, then one of the nodes."""
    try:
        config = client.settings()
        nodes = tuple(listing.nodes(client.nodes(), options.partition))
    except UnansweredError as error:
        yield "slurm", "fail", f"Slurm does not answer: {error}.", "make `sinfo` work here"
        return
    version = config.get("SLURM_VERSION", "of unknown version")
    yield "slurm", "ok", f"Slurm {version}, cluster {config.get('ClusterName', '?')}.", None
    yield from _nodes(nodes)
    yield _accounting(config)
    yield _processes(config)
    yield _fence(config)
    yield from _versions(config, nodes)
    yield from _on_a_node(client, options, home)


def _nodes(nodes: tuple[ClusterNode, ...]) -> Iterator[Finding]:
    gpus = sum(node.gpus for node in nodes)
    if not gpus:
        fix = "set Gres=gpu:… for the nodes in slurm.conf, and --partition in slurm.args"
        yield "nodes", "fail", "No node has GPUs that Slurm knows of.", fix
        return
    yield "nodes", "ok", f"{len(nodes)} nodes with {gpus} GPUs.", None
    for node in nodes:
        if node.problem is not None:
            fix = f"scontrol update NodeName={node.name} State=RESUME"
            yield node.name, "warn", f"{node.problem}.", fix


def _accounting(config: dict[str, str]) -> Finding:
    if config.get("AccountingStorageType", "").endswith("/slurmdbd"):
        return "accounting", "ok", "slurmdbd answers for jobs that the controller forgot.", None
    sentence = "There is no accounting: a job that ends while Berth is away for longer than "
    sentence += f"MinJobAge ({config.get('MinJobAge', '300 sec')}) is known by its own record only."
    return "accounting", "warn", sentence, "set AccountingStorageType=accounting_storage/slurmdbd"


def _processes(config: dict[str, str]) -> Finding:
    if "cgroup" in config.get("ProctrackType", ""):
        return "processes", "ok", "Slurm tracks processes by cgroup.", None
    sentence = "Slurm does not track processes by cgroup: what a job leaves behind may stay."
    return "processes", "warn", sentence, "set ProctrackType=proctrack/cgroup"


def _fence(config: dict[str, str]) -> Finding:
    if "cgroup" in config.get("TaskPlugin", ""):
        fix = "set ConstrainDevices=yes in cgroup.conf, if it is not there"
        return "fence", "ok", "Slurm may keep jobs off other GPUs by cgroup.", fix
    sentence = "Nothing keeps a job off GPUs that it did not get: it sees only their numbers."
    return "fence", "warn", sentence, "set TaskPlugin=task/cgroup, ConstrainDevices=yes"


def _versions(config: dict[str, str], nodes: tuple[ClusterNode, ...]) -> Iterator[Finding]:
    mine = config.get("SLURM_VERSION", "")
    others = sorted({node.version for node in nodes} - {mine, ""})
    if others:
        sentence = f"Nodes run Slurm {', '.join(others)}, the controller {mine}."
        yield "versions", "warn", sentence, "bring all of them to one version"


def _on_a_node(client: SlurmClient, options: SlurmOptions, home: str) -> Iterator[Finding]:
    """Run one small job: interpreter, shared home and clock of a node."""
    word = secrets.token_hex(8)
    mark = f"{home}/doctor-{word}"
    python = options.python or sys.executable
    program = (
        "import sys, time, pathlib, berth_worker.slurm.on_node.single; "
        "p = pathlib.Path(sys.argv[1]); word = p.read_text(); "
        "p.with_suffix('.back').write_text(word); print(word, time.time())"
    )
    try:
        Path(mark).write_text(word, "ascii")
        done = client.run_on_a_node([python, "-c", program, mark], options.args, _NODE_S)
    except OSError as error:
        yield "home", "fail", f"{home} cannot be written: {error.strerror}.", "make it writable"
        return
    except UnansweredError as error:
        yield "a node", "warn", f"No node was checked: {error}.", "try again when one is free"
        return
    finally:
        came_back = _take_away(Path(f"{mark}.back"))
        _take_away(Path(mark))
    if done.returncode and "busy" in done.stderr:
        yield "a node", "warn", "No node was free to be checked.", "try again when one is"
        return
    refused = done.stderr.partition("Unable to allocate resources: ")[2]
    if refused:
        sentence = f"Slurm gave no node: {refused.splitlines()[0]}."
        yield "a node", "fail", sentence, "correct args in the table [slurm] of berth.toml"
        return
    said = done.stdout.split()
    if done.returncode or len(said) != 2 or said[0] != word:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        sentence = f"A job on a node could not read BERTH_HOME or start {python}: {last}."
        fix = "put both on a disk that all nodes share, under the same path, or set slurm.python"
        yield "a node", "fail", sentence, fix
        return
    if came_back != word:
        sentence = f"What a job on a node writes into {home} is not seen here."
        yield "a node", "fail", sentence, "put BERTH_HOME on a disk that all nodes share"
        return
    yield "a node", "ok", f"A job on a node starts {python}, reads and writes {home}.", None
    apart_s = abs(time.time() - float(said[1]))
    if apart_s > _CLOCK_S:
        yield "clocks", "warn", f"A node's clock is {apart_s:.0f} s off this one.", "run chrony"


def _take_away(path: Path) -> str:
    """Return the content of a file and remove it; empty when there is none."""
    try:
        found = path.read_text("ascii")
        path.unlink()
    except OSError:
        return ""
    return found


if __name__ == "__main__":
    sys.exit(main())
