"""Explanation of any job, unfinished or ended."""

from __future__ import annotations

from berth.protocol.explain import Explanation
from berth.protocol.message import Message
from berth.protocol.states import JobState, Outcome
from berth_server.core.explain.explanation import explain
from berth_server.core.explain.phrases import has_ended
from berth_server.core.explain.reasons import reason
from berth_server.core.explain.score_breakdown import score_breakdown
from berth_server.service.jobs import lookup
from berth_server.service.scheduling.planning import latest_forecast
from berth_server.service.state import ServerState
from berth_server.store import messages


def explain_job(server: ServerState, job_id: int, against: int | None = None) -> Explanation:
    """
    Explain any job: from the plan while it is unfinished, from its row afterwards.

    In line it is put beside `against`, or beside the job just ahead of it. Raises NotFound.
    """
    record = lookup.job(server.db.read, job_id)
    if against is not None:
        lookup.job(server.db.read, against)
    state = lookup.state_of(record)
    notes = list(messages.decode_all(record.warnings))
    if not state.is_final:
        snapshot, plan = latest_forecast(server, fresh=True)
        try:
            explained = explain(snapshot, plan, job_id)
            standing, compared = score_breakdown(snapshot, plan, job_id, against)
            wrong = [
                reason("alert", alert, blocking=False, job_ids=(job_id,))
                for alert in server.alerts.get((job_id, record.attempts), {}).values()
            ]
            return explained.model_copy(
                update={
                    "reasons": [*explained.reasons, *wrong],
                    "standing": standing,
                    "compared": compared,
                    "notes": [str(note) for note in notes],
                    "notes_parts": notes,
                }
            )
        except KeyError:
            pass
    why = reason(
        "ended", messages.decode(record.message) or f"It is {state.value}.", blocking=False
    )
    says_so = state is JobState.SUCCEEDED or record.outcome == Outcome.CANCELLED.value
    head = f"It {has_ended(state)}: " if state.is_final and not says_so else ""
    summary = Message.of(head, why.sentence_parts)
    return Explanation(
        job_id=job_id,
        state=state,
        confidence="certain",
        summary=str(summary),
        summary_parts=summary,
        summary_reason=0,
        reasons=[why],
        notes=[str(note) for note in notes],
        notes_parts=notes,
    )
