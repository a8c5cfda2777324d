"""`python -m berth.daemons`: keep the daemons of BERTH_HOME running. `berth up` starts this."""

from __future__ import annotations

import sys

from berth.daemons.home import Home
from berth.daemons.keeper import Keeper
from berth.sdk.address import home


def main() -> int:
    """Run the keeper; arguments after `--announce` are a command to start beside it."""
    announce = sys.argv[2:] if sys.argv[1:2] == ["--announce"] else []
    try:
        return Keeper(Home(home())).run(announce)
    except OSError as error:
        print(f"berth: Cannot keep Berth's state under {home()}: {error}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
