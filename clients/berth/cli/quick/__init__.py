"""
The common verbs without Typer, pydantic and httpx2: a command takes tens of milliseconds.

`run` takes a command line only if nothing about it is unusual: a common verb, known options, none
that follow, and no JSON. The verbs, their declared options and their wording are those of the
whole command; `argv` reads the declarations, `client` answers with `records` instead of models.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

VERBS = {
    "submit": "jobs.submit",
    "ls": "jobs.ls",
    "logs": "jobs.logs",
    "why": "jobs.why",
    "cancel": "jobs.cancel",
    "hold": "jobs.hold",
    "release": "jobs.release",
    "retry": "jobs.retry",
    "gpus": "box.gpus",
}
# What these load takes longer than Typer.
_LEFT_TO_APP = ("as_json", "follow", "wait", "dry_run", "paste")


def run(words: Sequence[str]) -> bool:
    """Run a common command line and leave the process; return False for all others."""
    if not words or words[0] not in VERBS or _asked_otherwise():
        return False
    from berth.cli.quick import argv

    module = importlib.import_module(f"berth.cli.verbs.{VERBS[words[0]]}")
    verb = getattr(module, words[0])
    values = argv.read(verb, words[1:])
    if values is None or any(values.get(name) for name in _LEFT_TO_APP):
        return False
    sys.exit(_run(verb, values))


def _asked_otherwise() -> bool:
    return "_BERTH_COMPLETE" in os.environ or bool(os.environ.get("BERTH_DEBUG"))


def _run(verb: object, values: dict[str, object]) -> int:
    from berth.cli import error_report, failure, session
    from berth.cli.declare import Exit

    session.quick = True
    try:
        assert callable(verb)
        verb(**values)
        code = 0
    except Exit as end:
        code = end.code
    except KeyboardInterrupt:
        code = failure.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - reported in the same words as by the whole command
        code = error_report.report(error, as_json=False)
    error_report.flush()
    return code
