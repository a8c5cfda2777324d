"""The Typer command of `submit` and `run`: options before a command line that has its own."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from berth.cli.failure import Failure
from berth.cli.job_options import stands_alone


class SpecCommand(TyperCommand):
    """
    A command whose options come before the job's command line, which may have its own options.

    After a job file, or a command quoted as one line, no further words of the command follow, so
    options may come after it as well.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allow_interspersed_args = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; parse again with trailing options allowed where the first word is a whole job."""
        again = list(args)
        rest = super().parse_args(ctx, args)
        words = ctx.params.get("command") or []
        alone = stands_alone(words[0]) if len(words) > 1 and "--" not in again else None
        if alone is not None:
            ctx.params.clear()
            ctx.allow_interspersed_args = True
            rest = super().parse_args(ctx, again)
            words = ctx.params.get("command") or []
            if len(words) > 1:
                raise Failure(f"{alone} takes no further words; remove {' '.join(words[1:])!r}.")
        return rest
