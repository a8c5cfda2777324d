"""Error handling: every error ends in one sentence and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from berth.cli import error_report, failure
from berth.cli.declare import Exit

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
        except Exit as end:
            code = end.code
        except (Exception, typer.Abort) as error:
            if os.environ.get("BERTH_DEBUG"):
                raise
            code = error_report.report(error, as_json=error_report.wants_json(argv))
        if standalone_mode:
            error_report.flush()
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
