"""
Entry point of the `berth` command.

Common command lines run without Typer, pydantic and httpx2 (`quick`), whose import takes many
times as long as the command; all others run in `whole`. Both call the same verbs.
"""

from __future__ import annotations

import io
import sys
from typing import Any


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows a question mark rather than an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    from berth.cli.quick import run

    if not run(sys.argv[1:]):
        __getattr__("app")()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from berth.cli.whole.app import app

    return app


if __name__ == "__main__":
    main()
