"""Jobs of this home on the cluster that no attempt explains; they are cancelled after a minute."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import structlog

from berth_worker.slurm.calls import Calls
from berth_worker.slurm.client import SlurmClient

_log = structlog.get_logger(__name__)
_AFTER_S = 60.0


class Strays:
    """The jobs that nobody wants, with the time since when."""

    def __init__(self, client: SlurmClient, calls: Calls) -> None:
        self._client = client
        self._calls = calls
        self._since: dict[int, float] = {}

    def look(self, unexplained: Iterable[int], now: float) -> None:
        """Take in the jobs that no attempt explains now; cancel those that stay."""
        self._since = {number: self._since.get(number, now) for number in unexplained}
        for number, since in self._since.items():
            if now - since >= _AFTER_S:
                self._since[number] = now
                self._calls.ask_alone(partial(self._client.cancel, number))
                _log.warning(
                    "a job that no attempt explains is cancelled",
                    action="slurm.stray",
                    slurm_job=number,
                )
