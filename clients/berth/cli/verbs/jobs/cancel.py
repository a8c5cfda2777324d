"""`berth cancel`: end jobs."""

from __future__ import annotations

from berth.cli.bulk_actions import act
from berth.cli.ids import JobIds
from berth.cli.session import AsJson


def cancel(jobs: JobIds, *, as_json: AsJson = False) -> None:
    """End jobs: a pending one at once, a running one by TERM, its grace, then KILL."""
    act(jobs, "cancel", as_json=as_json)
