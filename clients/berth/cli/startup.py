"""Start-up of Berth: wait until it accepts jobs, then print where it is, or why it does not start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth import home as homes
from berth.cli import text
from berth.cli.failure import UNREACHABLE, Failure
from berth.daemons import identity
from berth.home import DAEMONS, Home

if TYPE_CHECKING:
    from berth.protocol.gpus import Box
    from berth.sdk.client import Client

DRAINED_BY_DOWN = "berth down --jobs; `berth up` takes it back"
"""The drain reason between `berth down --jobs cancel|wait` and the next `berth up`."""

_LOGS = (*DAEMONS, "up")
_LOOK_S = 0.05
_REFUSED = 2
_MOST_FAILURES = 4
_TAIL_LINES = 6
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Up:
    """A Berth that accepts jobs."""

    home: Path
    socket: Path
    link: str | None
    """A one-time link to the dashboard."""
    box: Box

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "home": str(self.home),
            "socket": str(self.socket),
            "link": self.link,
            "box": self.box.model_dump(mode="json"),
        }

    def lines(self) -> str:
        """For people."""
        fence = self.box.fence.value if self.box.fence else "unknown"
        if self.box.source == "simulated":
            fence = "not needed: the GPUs are simulated"
        models = sorted({gpu.name for gpu in self.box.gpus})
        source = " (simulated)" if self.box.source == "simulated" else ""
        found = text.plural(len(self.box.gpus), "GPU")
        rows = [
            ("GPUs", f"{found}, {', '.join(models)}{source}" if models else found),
            ("fence", _FENCES.get(fence, fence)),
            ("socket", str(self.socket)),
            ("dashboard", f"{self.link}  (signs in once)" if self.link else "run `berth web`"),
            ("submit", "berth submit --gpus 4 -- deepspeed train.py"),
        ]
        head = text.style("Berth is up.", "bold")
        return "\n".join([head, *(f"  {name:<10} {value}" for name, value in rows)])


_FENCES = {
    "namespace": "namespace: a job cannot see other jobs' GPUs",
    "cgroup": "cgroup: a job cannot open other jobs' GPUs",
    "advisory": "advisory: environment variables and the audit keep jobs apart",
}


def boxwide_is_up(home: Home) -> bool:
    """True if root runs a Berth for the box beside this home; two would compete for its GPUs."""
    if os.environ.get("BERTH_HOME") or home == homes.BOX_HOME:
        return False
    return identity.alive(homes.BOX_HOME.pid("server")) is not None


def wait_until_up(home: Home, client: Client, timeout_s: float) -> Up:
    """
    Return when jobs can be submitted and the worker has reported.

    Raises Failure with the ends of the daemons' logs when the supervisor is gone, a daemon fails
    to start repeatedly, or the time is over.
    """
    from berth.sdk.errors import BerthError

    deadline = time.monotonic() + timeout_s
    # Daemons need longer than this to write anything: what is there now is old.
    old = {name: _size(home.log(name)) for name in _LOGS}
    while True:
        try:
            if client.health().status == "ok":
                box = client.gpus()
                if box.taken_at is not None and not box.stale:
                    _undrain(client, box)
                    return Up(home.folder, home.socket, _link(client), box)
        except BerthError:
            pass
        reason = _start_failure(home)
        if reason is None and time.monotonic() > deadline:
            reason = f"Berth does not accept jobs after {timeout_s:g} s"
        if reason is not None:
            said = refusal(home)
            raise Failure(said or f"{reason}.{_log_ends(home, old)}", UNREACHABLE)
        time.sleep(_LOOK_S)


def refusal(home: Home) -> str | None:
    """
    Return the sentence with which a daemon refuses to start in this home; None where none does.

    Asked of the daemon's own program, because on a full disk its log holds nothing.
    """
    for name in DAEMONS[:1]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", f"berth_{name}", "--check"],
            env={**os.environ, "BERTH_HOME": str(home.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode == _REFUSED and done.stderr.strip():
            return done.stderr.strip().splitlines()[-1]
    return None


def _undrain(client: Client, box: Box) -> None:
    for gpu in box.gpus:
        if gpu.draining and gpu.drain_reason == DRAINED_BY_DOWN:
            client.undrain(gpu.uuid)


def _link(client: Client) -> str | None:
    from berth.sdk.errors import BerthError

    try:
        return client.login_link().url
    except BerthError:
        return None


def _start_failure(home: Home) -> str | None:
    if identity.alive(home.supervisor_pid) is None:
        return "The supervisor of server and worker has ended"
    try:
        state: dict[str, Any] = json.loads(home.supervisor_state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for name, facts in state.items():
        refused = str(facts.get("last_end", "")).endswith(f"code {_REFUSED}")
        if facts.get("failures", 0) >= (1 if refused and name == "server" else _MOST_FAILURES):
            return f"The {name} does not start: it {facts['last_end']}"
    return None


def _log_ends(home: Home, old: dict[str, int]) -> str:
    """Return the ends of the logs of daemons that do not run, if they wrote anything new."""
    parts: list[str] = []
    for name in _LOGS:
        running = name in DAEMONS and identity.alive(home.pid(name)) is not None
        tail = "" if running else _tail(home.log(name), old[name])
        if tail:
            parts.append(f"\n{home.log(name)} says:\n{tail}")
    return "".join(parts)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tail(path: Path, after: int) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(after, _size(path) - _TAIL_BYTES))
            text_read = stream.read().decode(errors="replace")
    except OSError:
        return ""
    # A daemon that was restarted repeatedly has written the same lines repeatedly.
    lines = list(dict.fromkeys(text_read.splitlines()[-_TAIL_LINES:]))
    return "\n".join(f"  {line}" for line in lines)


def main() -> int:
    """`python -m berth.cli.startup TIMEOUT`: the process that reports to the terminal for the supervisor."""
    from berth.sdk.client import Client

    there = homes.resolve()
    try:
        with Client(f"unix://{there.socket}", patience=0.0) as client:
            up = wait_until_up(there, client, float(sys.argv[1]))
    except Failure as failure:
        print(f"berth: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        return 130
    print(up.lines())
    print("Ctrl-C stops server and worker; running jobs continue.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
