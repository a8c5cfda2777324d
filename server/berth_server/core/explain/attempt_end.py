"""Sentences about the end of an attempt, where the worker says nothing, and what comes next."""

from __future__ import annotations

from berth.protocol.message import JobRef, Message, Span
from berth.protocol.states import Outcome
from berth_server.core.early_stopping import Stop
from berth_server.core.explain.phrases import code, job

_ENDS: dict[Outcome, Message] = {
    Outcome.OOM_GPU: Message.of(
        "It ran out of GPU memory; ", code("berth plan"), " estimates what it needs."
    ),
    Outcome.OOM_HOST: Message.of("It ran out of the box's memory and was killed; ask for less."),
    Outcome.TIME_LIMIT: Message.of(
        "It reached its time limit; give a longer one, or save and resume."
    ),
    Outcome.STALLED: Message.of("It stopped making progress; see its log."),
    Outcome.LOST: Message.of("Its supervision was lost, as when the box restarts; retry it."),
    Outcome.ESCAPED: Message.of(
        "It ran on a GPU that was not its own; let it use only those it sees."
    ),
    Outcome.LAUNCH_ERROR: Message.of("It could not be started; see its log."),
    Outcome.PREEMPTED: Message.of("It made room for another job."),
    Outcome.CANCELLED: Message.of("It was cancelled."),
    Outcome.EARLY_STOPPED: Message.of("Its ablation's early-stop rule ended it."),
    Outcome.DISK_FULL: Message.of("The disk is full; make room and retry it."),
}


def ended(attempt: str, outcome: Outcome, exit_code: int | None, signal: int | None) -> Message:
    """Describe how an attempt ended."""
    if outcome is not Outcome.EXIT:
        return _ENDS.get(outcome) or Message.of(f"Attempt {attempt} ended.")
    if signal is not None:
        return Message.of(f"It was ended by signal {signal}; see its log.")
    if exit_code == 0:
        return Message.of("It has succeeded.")
    return Message.of(f"It left with exit code {exit_code}; see its log.")


def with_next_step(end: Message, step: str) -> Message:
    """The next attempt after a GPU out-of-memory, with a step of the ladder."""
    next_try = f"; it is queued again with the next step, {step.replace('_', ' ')}."
    return Message.of(end.without_stop(), next_try)


def retried(end: Message, left: int, pause_s: float = 0.0) -> Message:
    """The next attempt after a failure and a pause, with so many retries left after it."""
    after = f"{left} more after this" if left else "for the last time"
    if not pause_s:
        return Message.of(end.without_stop(), f"; it is queued again ({after}).")
    pause = Span(seconds=pause_s)
    return Message.of(end.without_stop(), "; it is queued again in ", pause, f" ({after}).")


def on_another_port(end: Message) -> Message:
    """The next attempt of one whose port somebody else had; it counts as no retry."""
    return Message.of(end.without_stop(), "; it starts again on another port.")


def on_other_gpus(end: Message) -> Message:
    """The next attempt of one whose prologue failed; it counts as no retry."""
    return Message.of(end.without_stop(), "; its GPUs take no jobs, and it is queued for others.")


def stopped_early(stop: Stop) -> Message:
    """The reason for which an ablation's rule ends a run."""
    rule, other = stop.rule, _value(stop, stop.other)
    if rule.rule == "target":
        return Message.of(
            *("Stopped early: ", _job(stop), f" has reached {rule.metric} {other}, the target "),
            f"being {rule.target:g}.",
        )
    best = f"Stopped early: its best {rule.metric} by step {stop.step:g} is {_value(stop, stop.best)}, "
    if rule.rule == "median":
        median = f"worse than {other}, the median of the {stop.runs} other runs so far."
        return Message.of(best, median)
    margin = f"more than {rule.margin or 0.0:g} worse than {other} of "
    return Message.of(best, margin, _job(stop), ".")


def _job(stop: Stop) -> JobRef:
    assert stop.job_id is not None
    return job(stop.job_id)


def _value(stop: Stop, less_is_better: float) -> str:
    if less_is_better == float("inf"):
        return "no number"
    return f"{less_is_better if stop.rule.mode == 'min' else -less_is_better:.4g}"
