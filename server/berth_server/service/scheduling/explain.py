"""Why a job is where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.protocol.explain import Explanation, Reason
from berth_server.core.explain.explanation import explain
from berth_server.core.explain.score_breakdown import standings
from berth_server.service.jobs import lookup
from berth_server.service.phrases import has_ended

if TYPE_CHECKING:
    from berth_server.service.service import Service


def explain_job(service: Service, job_id: int, against: int | None = None) -> Explanation:
    """
    Explain any job: from the plan while it is unfinished, from its row afterwards.

    In line it is put beside `against`, or beside the job just ahead of it. Raises NotFound.
    """
    record = lookup.job(service.db.read, job_id)
    if against is not None:
        lookup.job(service.db.read, against)
    state = lookup.state_of(record)
    if not state.is_final:
        snapshot, plan = service.forecast(fresh=True)
        try:
            explained = explain(snapshot, plan, job_id)
            standing, compared = standings(snapshot, plan, job_id, against)
            return explained.model_copy(update={"standing": standing, "compared": compared})
        except KeyError:
            pass
    ended = record.message or f"It is {state.value}."
    summary = f"It {has_ended(state)}: {ended}" if state.is_final else ended
    return Explanation(
        job_id=job_id,
        state=state,
        confidence="certain",
        summary=summary,
        reasons=[Reason(kind="ended", sentence=ended, blocking=False)],
    )
