"""Verb `berth top`: GPUs and jobs, live."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli import text
from berth.cli.durations import seconds
from berth.cli.failure import Failure
from berth.cli.session import connect
from berth.cli.verbs.box import gpus
from berth.cli.verbs.box.top_keys import Cancel, Quit, TopScreen, keys
from berth.cli.verbs.jobs import ls

if TYPE_CHECKING:
    from berth.protocol.jobs import Job
    from berth.sdk.client import Client

_JOBS = 200
_PLAIN = re.compile(r"\x1b\[[0-9;]*m")


def top(
    *,
    every: Annotated[
        str,
        typer.Option("--every", "-d", metavar="DURATION", help="Time between updates, like 2s."),
    ] = "1s",
) -> None:
    """
    Show GPUs and jobs, live, until q or Ctrl-C.

    Keys: arrows choose a job, s sorts, u shows yours alone, / filters, k cancels after a question.
    """
    pause_s = seconds(every, least=0.2)
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise Failure(
            "`berth top` needs a terminal; in a pipe use `berth gpus --json` and `berth ls --json`."
        )
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with (
        connect() as client,
        _keys_at_once(),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        view = _View(client)
        while True:
            page = Text.from_ansi(view.page(), no_wrap=True, overflow="crop")
            live.update(page, refresh=True)
            until = time.monotonic() + pause_s
            while (left_s := until - time.monotonic()) > 0:
                if select.select([sys.stdin], [], [], left_s)[0]:
                    if not view.press(os.read(sys.stdin.fileno(), 1024)):
                        return
                    page = Text.from_ansi(view.drawn(), no_wrap=True, overflow="crop")
                    live.update(page, refresh=True)


class _View:
    """View of the box as it was read last."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._screen = TopScreen()
        self._box = ""
        self._jobs: list[Job] = []

    def page(self) -> str:
        """Read anew and return the page."""
        from berth.sdk.errors import Unreachable

        try:
            self._screen.me = self._screen.me or self._client.me().user
            self._jobs = ls.living(self._client, limit=_JOBS)
            self._box = gpus.rendered(self._client.gpus())
        except Unreachable as error:
            return f"{error}\nTrying again."
        return self.drawn()

    def drawn(self) -> str:
        """Return the page with what was read last."""
        jobs = self._screen.show(self._jobs)
        head, *rows = ls.rendered(jobs).splitlines() if jobs else ["No jobs."]
        ids = [job.id for job in jobs]
        if self._screen.chosen is not None:
            at = ids.index(self._screen.chosen)
            rows[at] = f"\x1b[7m{text.clean(_PLAIN.sub('', rows[at]))}\x1b[0m"
        return "\n".join([text.style(self._screen.foot, "dim"), "", self._box, "", head, *rows])

    def press(self, data: bytes) -> bool:
        """Take what was typed; return False to leave."""
        for key in keys(data):
            action = self._screen.press(key)
            if isinstance(action, Quit):
                return False
            if isinstance(action, Cancel):
                self._cancel(action.job)
        return bool(data)

    def _cancel(self, job: int) -> None:
        from berth.sdk.errors import BerthError

        try:
            self._client.cancel(job)
            self._screen.said = f"Job {job} is cancelled."
        except BerthError as error:
            self._screen.said = str(error)


@contextlib.contextmanager
def _keys_at_once() -> Generator[None]:
    """Have keys come one by one and unseen; Ctrl-C still interrupts."""
    before = termios.tcgetattr(sys.stdin.fileno())
    try:
        tty.setcbreak(sys.stdin.fileno(), termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
