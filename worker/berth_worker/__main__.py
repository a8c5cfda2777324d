"""`python -m berth_worker`: the worker daemon of one box."""

from __future__ import annotations

import sys

from berth_worker.daemon import main

if __name__ == "__main__":
    sys.exit(main())
