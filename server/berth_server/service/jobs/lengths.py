"""Expected lengths of jobs at submit, and the warnings of time limits that are shorter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from berth.protocol.progress import ExpectedLength
from berth_server.core.estimate import Estimate
from berth_server.core.explain.expected_length import expected_length, short_limit
from berth_server.service.auth.callers import Caller
from berth_server.service.jobs.check import Prepared
from berth_server.service.state import ServerState
from berth_server.store.records import JobRecord


def expected(server: ServerState, user: str, prepared: Prepared) -> ExpectedLength | None:
    """Expected length of a job that is not submitted yet; None when nothing is known."""
    return expected_length(_estimate(server, user, prepared))


def expected_of(server: ServerState, record: JobRecord) -> ExpectedLength | None:
    """Expected length of a pending job; None when nothing is known."""
    history = server.run_history
    return expected_length(history.unlimited(record.user, record.spec, record.work))


def with_warnings(
    server: ServerState, caller: Caller, prepared: Sequence[Prepared]
) -> list[Prepared]:
    """Add a warning to each job whose time limit is shorter than it should take."""
    found: list[Prepared] = []
    for one in prepared:
        warning = None
        if one.spec.time_limit is not None:
            warning = short_limit(_estimate(server, caller.user, one), one.spec.time_limit)
        found.append(one if warning is None else replace(one, warnings=(*one.warnings, warning)))
    return found


def _estimate(server: ServerState, user: str, prepared: Prepared) -> Estimate | None:
    work = None if prepared.work is None else prepared.work.encode()
    return server.run_history.unlimited(user, prepared.resolved, work)
