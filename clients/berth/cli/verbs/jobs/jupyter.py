"""Verb `berth jupyter`: a notebook server on GPUs."""

from __future__ import annotations

import re
import secrets
import shlex
import socket
from typing import TYPE_CHECKING, Annotated

from berth.cli import failure, jobtext
from berth.cli.declare import Exit, Option
from berth.cli.durations import seconds
from berth.cli.failure import Failure
from berth.cli.flags import fields_as_flags
from berth.cli.following import PATIENCE_S
from berth.cli.job_options import JobOptions
from berth.cli.session import connect, note
from berth.cli.verbs.jobs.submit import submitted
from berth.cli.wait_notices import WaitNotices

if TYPE_CHECKING:
    from berth.protocol.jobs import Job
    from berth.sdk.client import Client

_ADDRESS = re.compile(rb"http://127\.0\.0\.1:(\d+)/(\w*)")
# The first of these that the job's environment has. Its port is the one leased to the job.
_SCRIPT = """\
for app in jupyterlab notebook jupyter_server; do
  if python -c "import $app" 2>/dev/null; then
    exec python -m $app --no-browser --ip=127.0.0.1 --port="${{MASTER_PORT:-0}}" {options}
  fi
done
echo "Jupyter is not installed for $(command -v python); pip install jupyterlab there."
exit 1
"""


def jupyter(
    options: JobOptions,
    *,
    idle: Annotated[
        str,
        Option(
            metavar="DURATION",
            help="End kernels, then the server, after so long without work; none: never.",
        ),
    ] = "2h",
) -> None:
    """
    Start a notebook server on GPUs, in a job of its own, and print its link.

    It ends by itself when idle, and its GPUs are free again. Options of Jupyter go after --.

    berth jupyter --gpus 1 --time-limit 8h
    berth jupyter --gpus 1 -- --ServerApp.root_dir=/data/ada
    """
    own = options.command or []
    options.command = None
    if options.script or options.file or (own and not own[0].startswith("-")):
        raise Failure("`berth jupyter` starts Jupyter alone; only its own options go after --.")
    idle_s = 0 if idle == "none" else round(seconds(idle, least=1.0))
    ends = (
        f"--ServerApp.shutdown_no_activity_timeout={idle_s} "
        f"--MappingKernelManager.cull_idle_timeout={idle_s} "
        f"--MappingKernelManager.cull_interval={max(1, min(60, idle_s // 2))} "
        "--MappingKernelManager.cull_connected=True"
    )
    options.name = options.name or "jupyter"
    token = secrets.token_urlsafe(24)
    more = f"{ends if idle_s else ''} {shlex.join(own)}"
    (spec,) = options.specs_of([{"script": _SCRIPT.format(options=more)}])
    # Set, and not made by Jupyter, it is in no log: other users may read those.
    spec["env"] = {**spec.get("env", {}), "JUPYTER_TOKEN": token}
    with fields_as_flags(wanted=True), connect(patience=PATIENCE_S) as client:
        job = client.submit(spec)
        note(submitted(job, options))
        try:
            port, page = _address(client, job)
        except KeyboardInterrupt:
            client.cancel(job.id)
            note(f"\nJob {job.id} was cancelled.")
            raise Exit(failure.INTERRUPTED) from None
    print(f"http://127.0.0.1:{port}/{page}?token={token}")
    note(f"  tunnel  ssh -N -L {port}:127.0.0.1:{port} {socket.gethostname()}")
    note(
        f"  end     berth cancel {job.id}" + (f", or by itself after {idle} idle" if idle_s else "")
    )


def _address(client: Client, job: Job) -> tuple[int, str]:
    """Wait until the server says where it listens; return port and first page."""
    said = b""
    for piece in client.follow_log(job.id, until="attempt", meanwhile=WaitNotices(client, job)):
        said += piece.data
        found = _ADDRESS.search(said)
        if found:
            return int(found[1]), found[2].decode()
    (ended,) = client.wait(job.id)
    last = said.decode(errors="replace").strip().splitlines()[-1:]
    note("\n".join([*last, jobtext.end_sentence(ended)]))
    raise Exit(jobtext.exit_code(ended))
