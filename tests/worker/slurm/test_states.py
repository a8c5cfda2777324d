"""The next step for an attempt from what its run directory and Slurm say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.protocol.internal import ExitRecord
from berth.protocol.states import Outcome
from berth_worker.slurm import states
from berth_worker.slurm.listing import ClusterJob
from berth_worker.slurm.states import Facts

RECORD = ExitRecord(
    attempt="4.1", cause="exit", exit_code=0, ended_at=datetime(2026, 11, 30, tzinfo=UTC)
)
KILLED = RECORD.model_copy(update={"exit_code": None, "signal": 15})
LONG = 1000.0
WORDS = ["PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "COMPLETED", "FAILED",
         "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "REVOKED",
         "PREEMPTED", "A_WORD_OF_TOMORROW"]  # fmt: skip


def job(state: str, **more) -> ClusterJob:
    return ClusterJob(id=7, name="berth-x-4.1-y", state=state, nodes=("n2",), **more)


@pytest.mark.parametrize(
    ("facts", "step", "outcome"),
    [
        (Facts(), "submit", None),
        # A submit without an answer may still become a job.
        (Facts(submitted_ago_s=1.0), "wait", None),
        (Facts(submitted_ago_s=LONG, absent_s=1.0), "wait", None),
        (Facts(submitted_ago_s=LONG, absent_s=LONG), "account", None),
        (Facts(submitted_ago_s=LONG, absent_s=LONG, accounted=True), "submit", None),
        (Facts(submitted_ago_s=LONG, record=KILLED, claimed=True), "run", None),
        (Facts(submitted_ago_s=LONG, record=KILLED, claimed=True, absent_s=LONG), "account", None),
        (Facts(submitted_ago_s=LONG, record=KILLED, claimed=True, accounted=True), "end", None),
        # Slurm does not notice that its supervisor of a job was killed.
        (Facts(claimed=True, record=RECORD, job=job("RUNNING"), recorded_s=LONG, listings=2), "abandon", None),
        (Facts(claimed=True, record=RECORD, job=job("RUNNING"), recorded_s=1.0), "run", None),
        (Facts(claimed=True, job=job("RUNNING"), silent_s=LONG), "abandon", None),
        (Facts(claimed=True, job=job("SUSPENDED"), silent_s=LONG), "run", None),
        (Facts(claimed=True, job=job("COMPLETING"), silent_s=LONG), "run", None),
        (Facts(job=job("RUNNING"), silent_s=LONG), "wait", None),
        # Requeued past Berth.
        (Facts(claimed=True, record=KILLED, job=job("PENDING"), listings=2), "end", Outcome.PREEMPTED),
        (Facts(claimed=True, record=RECORD, job=job("PENDING"), listings=2), "end", None),
        # A listing from before the start of a short run.
        (Facts(claimed=True, record=RECORD, job=job("PENDING")), "wait", None),
        (Facts(claimed=True, record=KILLED, job=job("PENDING"), listings=1), "wait", None),
        (Facts(claimed=True, job=job("PENDING")), "wait", None),
        # A node whose prolog failed, and one who cancelled it.
        (Facts(job=job("CANCELLED"), broken_node=True), "submit", None),
        (Facts(claimed=True, job=job("CANCELLED"), broken_node=True), "end", Outcome.CANCELLED),
        (Facts(submitted_ago_s=LONG, absent_s=LONG, accounted=True, claimed=True), "end",
         Outcome.LOST),
        (Facts(submitted_ago_s=LONG, absent_s=LONG, claimed=True, record=RECORD), "end", None),
        (Facts(job=job("PENDING")), "wait", None),
        (Facts(job=job("RUNNING")), "wait", None),
        (Facts(job=job("RUNNING"), claimed=True), "run", None),
        (Facts(job=job("A_WORD_OF_TOMORROW"), claimed=True), "run", None),
        (Facts(job=job("COMPLETING"), claimed=True, record=RECORD), "run", None),
        (Facts(job=job("COMPLETED"), claimed=True, record=RECORD), "end", None),
        (Facts(job=job("NODE_FAIL"), claimed=True, record=RECORD), "end", None),
        (Facts(job=job("COMPLETED"), claimed=True), "end", Outcome.LOST),
        (Facts(job=job("CANCELLED"), claimed=True), "end", Outcome.CANCELLED),
        (Facts(job=job("TIMEOUT"), claimed=True), "end", Outcome.TIME_LIMIT),
        (Facts(job=job("OUT_OF_MEMORY"), claimed=True), "end", Outcome.OOM_HOST),
        (Facts(job=job("PREEMPTED"), claimed=True), "end", Outcome.PREEMPTED),
        (Facts(job=job("NODE_FAIL"), claimed=True), "end", Outcome.LOST),
        (Facts(job=job("COMPLETED")), "end", Outcome.LAUNCH_ERROR),
        (Facts(job=job("FAILED", exit_signal=53)), "end", Outcome.LAUNCH_ERROR),
        (Facts(job=job("CANCELLED")), "end", Outcome.CANCELLED),
        # Nothing of it ran: it is tried again, free of charge.
        (Facts(job=job("NODE_FAIL")), "submit", None),
        (Facts(job=job("PREEMPTED")), "submit", None),
    ],
)  # fmt: skip
def test_the_table(facts, step, outcome):
    """Each row of the state map."""
    decision = states.decide(facts)
    assert (decision.step, decision.outcome) == (step, outcome)


@given(st.sampled_from(WORDS), st.booleans(), st.booleans(), st.floats(0, 100), st.floats(0, 100))
def test_what_was_claimed_is_never_submitted_again(word, listed, accounted, ago, absent):
    """Whatever Slurm says: an attempt starts at most once."""
    facts = Facts(
        claimed=True,
        job=job(word) if listed else None,
        submitted_ago_s=ago,
        absent_s=absent,
        accounted=accounted,
    )
    assert states.decide(facts).step != "submit"


@given(st.sampled_from(WORDS), st.booleans())
def test_only_a_final_word_ends_an_attempt(word, claimed):
    """A word that is not known is neither success nor failure."""
    decision = states.decide(Facts(claimed=claimed, job=job(word)))
    assert decision.step != "end" or states.has_ended(job(word))


def test_the_job_that_claimed_is_the_one_that_counts():
    """Not the first, not the last: a controller may have made two of one submit."""
    first, second = job("RUNNING", submitted_at=1), ClusterJob(9, "berth-x-4.1-y", "PENDING")
    assert states.counting([first, second], 9) is second
    assert states.counting([first, second], 7) is first
    assert states.counting([first], 9) is None
    ended = ClusterJob(5, "berth-x-4.1-y", "NODE_FAIL", submitted_at=50)
    assert states.counting([ended, second], None) is second


@pytest.mark.parametrize(
    ("code", "signal", "state", "exit_code", "exit_signal", "expected"),
    [
        (0, None, "COMPLETED", 0, 0, (0, None)),
        (0, None, "FAILED", 3, 0, (3, None)),
        (None, 9, "FAILED", 0, 9, (None, 9)),
        (0, None, "FAILED", 0, 11, (None, 11)),
        (5, None, "CANCELLED", 0, 15, (5, None)),
    ],
)
def test_slurms_exit_code_cannot_be_forged(code, signal, state, exit_code, exit_signal, expected):
    """The record lies where the job's user may write."""
    record = RECORD.model_copy(update={"exit_code": code, "signal": signal})
    found = states.agreed(record, job(state, exit_code=exit_code, exit_signal=exit_signal))
    assert (found.exit_code, found.signal) == expected


def test_where_it_waits():
    """Slurm's reason in words."""
    assert states.place_in_queue(job("PENDING", reason="Resources")) == (
        "It waits in Slurm as job 7: the GPUs it needs are in use."
    )
    assert states.place_in_queue(job("PENDING", reason="Nodes_on_fire")).endswith("Nodes_on_fire.")
