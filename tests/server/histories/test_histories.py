"""Random histories: whatever users, worker and time do, the promises hold."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from tests.server.histories.limited_histories import LimitedHistories
from tests.server.histories.server_histories import Histories


def run(machine, open_desk, examples: int) -> None:
    class Machine(machine):
        pass

    Machine.open_desk = staticmethod(open_desk)
    case = Machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()


def test_any_history_keeps_the_promises(open_desk):
    """Random histories on a box without limits, crashes included."""
    run(Histories, open_desk, 60)


def test_no_start_breaks_a_limit_in_force(open_desk):
    """
    The same with a calendar of limits, ablations with caps and early stops, reservations that
    begin and end, clocks that jump over an edge; and every job reaches an end.
    """
    run(LimitedHistories, open_desk, 30)
