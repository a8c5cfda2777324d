"""
Error handling: every error ends in one sentence and an exit code, never a traceback.

0 success, 1 the job failed, 2 usage, 3 no server answers, 4 refused, 124 waited too long,
130 interrupted. `run` and `wait` give the job's own code, see docs/cli.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from berth.cli import failure

HEADINGS: dict[str, str] = {}
"""Help heading of each verb; filled where the verbs are added."""


class BerthGroup(TyperGroup):
    """The top-level group; turns an exception into a sentence and a code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - the signature is Typer's
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002 - the signature is Typer's
        **extra: Any,
    ) -> Any:
        """Run a command line and leave with its code."""
        argv = list(sys.argv[1:] if args is None else args)
        try:
            result = super().main(
                args=argv,
                prog_name=prog_name or "berth",
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
            code = result if isinstance(result, int) else 0
        except KeyboardInterrupt:
            code = failure.INTERRUPTED
        except (Exception, typer.Abort) as error:
            if os.environ.get("BERTH_DEBUG"):
                raise
            code = _report(error, as_json=_wants_json(argv))
        if standalone_mode:
            _flush()
            sys.exit(code)
        return code

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is Typer's
        """List the commands under their headings, in the order in which they were added."""
        for heading in dict.fromkeys(HEADINGS.values()):
            names = [name for name in self.commands if HEADINGS.get(name) == heading]
            rows = [(name, self.commands[name].get_short_help_str(90)) for name in names]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def _flush() -> None:
    """Write out the rest; stay quiet when the pipe is closed (`berth ls | head`)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end; that goes nowhere now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wants_json(argv: list[str]) -> bool:
    end = argv.index("--") if "--" in argv else len(argv)
    return "--json" in argv[:end]


def _report(error: BaseException, *, as_json: bool) -> int:
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
    if isinstance(error, typer.TyperException):
        return _usage(error), failure.USAGE, {}
    if isinstance(error, typer.Abort):
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
