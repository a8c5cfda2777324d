"""The scenes are shared by the tests here, and time passes in them without a plan a minute."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="module", autouse=True)
def rarely_replanned() -> Iterator[None]:
    """
    Random histories last weeks: a plan an hour without events is enough.

    Of a module: pytest ends what belongs to a package only when all its tests are over, and a
    worker of the parallel run goes through other packages in between.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("berth_server.core.next_event.REPLAN_EVERY", timedelta(hours=1))
        yield
