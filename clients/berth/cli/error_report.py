"""
Words and exit code of every error: one sentence on stderr, or JSON.

0 success, 1 the job failed, 2 usage, 3 no server answers, 4 refused, 124 waited too long,
130 interrupted. `run` and `wait` give the job's own code, see docs/cli.md.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, cast

from berth.cli import failure

if TYPE_CHECKING:
    import typer


def flush() -> None:
    """Write out the rest; stay quiet when the pipe is closed (`berth ls | head`)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end; that goes nowhere now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_json(argv: list[str]) -> bool:
    """Return whether a command line asks for JSON."""
    end = argv.index("--") if "--" in argv else len(argv)
    return "--json" in argv[:end]


def report(error: BaseException, *, as_json: bool) -> int:
    """Print what an error says, and return the exit code."""
    sentence, code, problem = _describe(error)
    if as_json:
        facts: dict[str, Any] = {"detail": sentence, **problem, "exit_code": code}
        print(json.dumps({"error": facts}, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"berth: {sentence}", file=sys.stderr)
        # The sentence states the first.
        for field in problem.get("fields", [])[1:]:
            print(f"  {field['field']}: {field['problem']}", file=sys.stderr)
    return code


def _describe(error: BaseException) -> tuple[str, int, dict[str, Any]]:
    if isinstance(error, failure.Failure):
        return str(error), error.code, {}
    loaded = sys.modules.get("typer")
    if loaded is not None and isinstance(error, loaded.TyperException):
        return _usage(cast("typer.TyperException", error)), failure.USAGE, {}
    if loaded is not None and isinstance(error, loaded.Abort):
        return "Nothing was done.", failure.INTERRUPTED, {}
    # Imported late: a successful or mistyped command does not need it.
    from berth.cli import text
    from berth.sdk import errors

    if isinstance(error, errors.BerthError):
        code = failure.REFUSED
        if isinstance(error, errors.Unreachable):
            code = failure.UNREACHABLE
        elif isinstance(error, errors.WaitTimeout):
            code = failure.TIMED_OUT
        problem = error.problem.model_dump(mode="json", exclude_none=True) if error.problem else {}
        return text.refusal(error), code, problem
    where = f"{type(error).__name__}: {error}".splitlines()[0]
    return (
        f"The berth command itself failed ({where}); please report it with the output of BERTH_DEBUG=1.",
        failure.FAULT,
        {},
    )


_PLAINER = (
    (
        "Input should be a valid integer, unable to parse string as an integer",
        "write a whole number",
    ),
    ("Input should be a valid number, unable to parse string as a number", "write a number"),
    ("Input should be greater than or equal to", "write at least"),
    ("Input should be less than or equal to", "write at most"),
)
"""Typer's words for wrong numbers, and plainer ones."""


def _usage(error: typer.TyperException) -> str:
    sentence = " ".join(error.format_message().split())
    for original, plain in _PLAINER:
        sentence = sentence.replace(original, plain)
    context = getattr(error, "ctx", None)
    if context is None:
        return sentence
    stop = "" if sentence.endswith(("?", "!")) else "."
    return f"{sentence.rstrip('.')}{stop} See `{context.command_path} --help`."
