"""Results of a row, merged over its ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rows import Row

CARD_FLOPS = 790e12
"""What a large matrix product reaches on the GPU that the table names."""


@dataclass
class Result:
    """Result of a row; memory in GiB of torch's allocator, 0 on a CPU."""

    row: Row
    tokens_per_s: float = 0.0
    """Real tokens of all ranks, without padding."""
    of_peak: float = 0.0
    """6 FLOP a parameter and token, over 790 TFLOP/s a GPU."""
    tokens: float = 0.0
    """Those of the steps that were timed, and what they took."""
    took_s: float = 0.0
    parameters: int = 0
    allocated: float = 0.0
    """Of several ranks, here and below, the one that has most."""
    reserved: float = 0.0
    context: float = 0.0
    """Other memory on the GPU: CUDA's context, cuBLAS, NCCL."""
    host: float = 0.0
    """What the processes have in the host's memory after a step, all together."""
    phases: dict[str, float] = field(default_factory=dict)
    """Peaks of the parts of a step, see `Phases`."""
    stood_still_s: float = 0.0
    """Seconds that the training waited for the last checkpoint, where there was one."""
    plan: float = 0.0
    plan_host: float = 0.0
    expected: float = 0.0
    """Tokens a second by the plan's speed model."""
    plan_fits: bool = True
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    setup: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    ranks_allocated: list[float] = field(default_factory=list)
    """`allocated` of each rank, where there are several."""

    @property
    def off(self) -> float:
        """Plan against what was allocated, in per cent."""
        return 100 * (self.plan / self.allocated - 1) if self.allocated else 0.0

    def time(self, tokens: float, took_s: float) -> None:
        """Set the speed from so many tokens in so many seconds."""
        self.tokens, self.took_s = tokens, took_s
        if took_s:
            self.tokens_per_s = round(tokens / took_s, 1)
            share = 6 * self.parameters * tokens / took_s / (CARD_FLOPS * self.row.ranks)
            self.of_peak = round(share, 4)


def merged(answers_by_rank: Mapping[int, Result | None]) -> Result:
    """
    One result from each rank's, in the order in which they came; None: it never answered.

    Times and losses are rank 0's, tokens and host memory the sum, the GPU's figures the most.
    Raises ValueError where there is nothing to merge.
    """
    answers = {rank: result for rank, result in answers_by_rank.items() if result is not None}
    if not answers:
        raise ValueError("no rank answered")
    if len(answers_by_rank) == 1:
        return next(iter(answers.values()))
    of_ranks = [result for _, result in sorted(answers.items())]
    whole = replace(
        of_ranks[0],
        allocated=max(one.allocated for one in of_ranks),
        reserved=max(one.reserved for one in of_ranks),
        context=max(one.context for one in of_ranks),
        phases=_most(of_ranks),
        host=round(sum(one.host for one in of_ranks), 1),
        ranks_allocated=[one.allocated for one in of_ranks],
        failure=_failure(answers_by_rank),
    )
    if len(of_ranks) == len(answers_by_rank):
        whole.time(sum(one.tokens for one in of_ranks), whole.took_s)
    else:
        whole.tokens_per_s = whole.of_peak = 0.0
    return whole


def as_json(result: Result) -> dict[str, Any]:
    body = asdict(result)
    body["off_percent"] = round(result.off, 2)
    return body


def _most(results: list[Result]) -> dict[str, float]:
    phases: dict[str, float] = {}
    for result in results:
        for name, peak in result.phases.items():
            phases[name] = max(phases.get(name, 0.0), peak)
    return phases


def _failure(answers_by_rank: Mapping[int, Result | None]) -> str:
    """Return the failures by rank; one that all share stands once."""
    failures = {
        rank: one.failure
        for rank, one in answers_by_rank.items()
        if one is not None and one.failure
    }
    silent = [rank for rank, one in answers_by_rank.items() if one is None]
    if not silent and len(failures) == len(answers_by_rank) and len(set(failures.values())) == 1:
        return next(iter(failures.values()))
    words = [f"rank {rank}: {failure}" for rank, failure in failures.items()]
    if silent and not failures:
        words = [f"rank {rank}: no step ended within the time left" for rank in silent]
    return "; ".join(words)
