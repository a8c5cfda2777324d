"""
Entry point of the shim and of its fork server.

`python -I -S __main__.py LAUNCH_JSON [NOTICE_FD]`: be the shim of one attempt.
`python -I -S __main__.py --fork-server SOCKET_FD FENCE_FILE`: fork shims on request.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Isolated mode knows no folders but the standard library's. Ours comes last: nothing in
    # it can stand in front of a standard module.
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100,PTH120 - pathlib costs a start
    sys.path.append(os.path.dirname(os.path.dirname(here)))  # noqa: PTH120
    if sys.argv[1] == "--fork-server":
        from berth_worker.shim import fork_server

        fork_server.serve(int(sys.argv[2]), sys.argv[3])
    else:
        from berth_worker.shim import supervise

        supervise.main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else -1)
