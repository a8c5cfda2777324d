"""Entry point of the supervisor, `python -m berth.daemons`, which `berth up` starts."""

from __future__ import annotations

import sys

from berth import home as homes
from berth.daemons.log_stream import LogStream
from berth.daemons.supervisor import DaemonSupervisor


def main() -> int:
    """Run the supervisor; arguments after `--announce` are a command to start beside it."""
    announce = sys.argv[2:] if sys.argv[1:2] == ["--announce"] else []
    home = homes.resolve()
    sys.stderr = LogStream(sys.stderr.fileno())  # a full disk must not end it
    try:
        return DaemonSupervisor(home).run(announce)
    except OSError as error:
        print(f"berth: Cannot keep Berth's state in {home.folder}: {error}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
