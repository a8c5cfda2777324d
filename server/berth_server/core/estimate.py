"""Run time estimates from earlier runs, given how long a run has lasted already."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from berth_server.core.progress.work import Work

SAMPLES = 64
"""By so many equally likely lengths an estimate tells what is known."""


@dataclass(frozen=True)
class Estimate:
    """Possible run times, each as likely as the others."""

    samples_s: tuple[float, ...]
    """Seconds, ascending, at least one."""
    source: str = "earlier runs"
    """For people, e.g. "12 earlier runs of train.py on 4 GPUs by ada"."""
    own: bool = False
    """True if runs of the same script tell it, not only others on as many GPUs."""

    @cached_property
    def mean_s(self) -> float:
        """The expected run time."""
        return sum(self.samples_s) / len(self.samples_s)

    def quantile_s(self, q: float, *, elapsed_s: float = 0.0) -> float:
        """
        The run time that a share `q` of runs stays below, given that it outlived `elapsed_s`.

        A run that outlives every sample is expected to go on for half of what it has run:
        run times have heavy tails.
        """
        samples = self.samples_s
        first = bisect_right(samples, elapsed_s) if elapsed_s > 0.0 else 0
        left = len(samples) - first
        if left == 0:
            return elapsed_s * 1.5
        return samples[first + min(left - 1, int(q * left))]


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """Key of a run: runs with the same key are comparable."""

    user: str
    script: str
    """The program: the script's path or the command's first words."""
    gpus: int
    ablation: str = ""
    """Its cell of an ablation, where it has one."""
    limit_s: float | None = None
    """Its time limit: users who know their job say so with it."""
    work: Work | None = None
    """Amount of work that its command or configuration asks for, where they say so."""


@dataclass
class RunTimes:
    """
    Lengths of ended runs, by what was run.

    An estimate starts from the widest kind of run and is narrowed kind by kind: n runs of a
    narrower kind count for n, all that the wider ones say together for `trust` runs. So a kind
    with many runs speaks for itself and one with few leans on its like (the posterior mean
    under a Dirichlet process whose base is the wider kind; Ferguson, Annals of Statistics 1973).

    Feed it with `record` in the order in which runs ended, leaving out runs that were cut
    short (cancelled, preempted, lost): they say nothing of the length.
    """

    window: int = 60
    """Number of the latest runs of a kind that count."""
    trust: float = 4.0
    """Number of runs of a narrower kind that weigh as much as everything that wider kinds say."""
    remembered: int = 2000
    """Of how many of the latest runs the sizes are counted."""
    kinds: dict[Hashable, deque[float]] = field(default_factory=dict)
    works: dict[Hashable, deque[tuple[float, float]]] = field(default_factory=dict)
    """By script, shape, unit, GPUs and user: amounts of work and how long they took."""
    plans: dict[Hashable, deque[float]] = field(default_factory=dict)
    """By script and GPUs: how many times what the plan expected runs took."""
    sizes: Counter[int] = field(default_factory=Counter[int])
    """Number of the latest runs, by number of GPUs."""
    _latest: deque[int] = field(default_factory=deque[int])
    _estimates: dict[RunKey, Estimate | None] = field(default_factory=dict)

    def record(self, key: RunKey, length_s: float) -> None:
        """Add a run that ended by itself."""
        self._estimates.clear()
        for kind, _ in _narrowing(key):
            runs = self.kinds.get(kind)
            if runs is None:
                runs = self.kinds[kind] = deque(maxlen=self.window)
            runs.append(length_s)
        if key.work is not None:
            done = self.works.setdefault(_same_work(key, key.work), deque(maxlen=self.window))
            done.append((key.work.amount, length_s))
            if key.work.planned_s:
                ratios = self.plans.setdefault((key.script, key.gpus), deque(maxlen=self.window))
                ratios.append(length_s / key.work.planned_s)
        self._latest.append(key.gpus)
        self.sizes[key.gpus] += 1
        if len(self._latest) > self.remembered:
            self.sizes[self._latest.popleft()] -= 1

    def estimate(self, key: RunKey) -> Estimate | None:
        """Estimate of a run before it starts; None when nothing is known."""
        if key not in self._estimates:
            self._estimates[key] = self._narrowed(key)
        return self._estimates[key]

    def _narrowed(self, key: RunKey) -> Estimate | None:
        limit_s = key.limit_s
        # Of a job with nothing but a limit any part of it is as likely (Mu'alem and Feitelson, 2001).
        likely = [] if limit_s is None else [(limit_s * part, 1 / len(_PARTS)) for part in _PARTS]
        source, own = "", False
        for kind, phrase in _narrowing(key):
            runs: Iterable[float] = self.kinds.get(kind, ())
            # A run that was longer than this one may be says nothing of it.
            runs = [length_s for length_s in runs if limit_s is None or length_s <= limit_s]
            if not runs:
                continue
            wider = self.trust if likely else 0.0
            each = 1 / (len(runs) + wider)
            likely = [(length_s, share * wider * each) for length_s, share in likely]
            likely += [(length_s, each) for length_s in runs]
            if not source or len(runs) >= self.trust:
                own = bool(key.script) and key.script in phrase
                source = f"{len(runs)} earlier {'run' if len(runs) == 1 else 'runs'} {phrase}"
        by_work = self._by_work(key)
        if by_work:
            # A step takes as long as it took: what other runs lasted says little beside that.
            each = 1 / (len(by_work) + _WORK_TRUST)
            wider = _WORK_TRUST if likely else 0.0
            likely = [(length_s, share * wider * each) for length_s, share in likely]
            likely += [(length_s, (1 - wider * each) / len(by_work)) for length_s in by_work]
            source, own = self._work_source(key), True
        return Estimate(_thinned(likely), source, own) if source else None

    def _by_work(self, key: RunKey) -> list[float]:
        """Lengths that its amount of work may take by what such work took before; several a run."""
        if key.work is None or not key.script:
            return []
        done = self.works.get(_same_work(key, key.work), ())
        lengths_s = scaled(done, key.work.amount)
        if not lengths_s and key.work.planned_s:
            # No run of this shape: what the plan expects, as right as it was for other shapes.
            ratios = self.plans.get((key.script, key.gpus), _UNCORRECTED)
            lengths_s = [key.work.planned_s * ratio for ratio in ratios]
        return [length_s * around for length_s in lengths_s for around in _AROUND]

    def _work_source(self, key: RunKey) -> str:
        """Basis of an estimate by its work."""
        work = "" if key.work is None else key.work.words
        runs = len(self.works.get(_same_work(key, key.work), ()))
        if runs:
            return f"{runs} earlier {'run' if runs == 1 else 'runs'} and {work}"
        runs = len(self.plans.get((key.script, key.gpus), ()))
        corrected = f", corrected by {runs} {'run' if runs == 1 else 'runs'}," if runs else ""
        return f"the speed in the plan{corrected} and {work}"


def scaled(done: Iterable[tuple[float, float]], amount: float) -> list[float]:
    """
    Seconds that each of these runs would have taken for this amount.

    Runs of different amounts tell what a run takes besides (start, compiling, saving): a line
    through them, as far as it makes sense; else all of a run's time is taken for its work.
    """
    runs = list(done)
    amounts = [one for one, _ in runs]
    fixed_s = 0.0
    if runs and max(amounts) >= _APART * min(amounts):
        mean, mean_s = sum(amounts) / len(runs), sum(length_s for _, length_s in runs) / len(runs)
        spread = sum((one - mean) ** 2 for one in amounts)
        slope = sum((one - mean) * (length_s - mean_s) for one, length_s in runs) / spread
        shortest_s = min(length_s for _, length_s in runs)
        fixed_s = min(max(0.0, mean_s - slope * mean), _MOST_FIXED * shortest_s)
    return [fixed_s + (length_s - fixed_s) * amount / one for one, length_s in runs]


_PARTS = (0.05, 0.15, 0.3, 0.5, 0.7, 0.9)
_AROUND = (0.9, 1.0, 1.1)
"""Usual error of a run of the same work."""
_WORK_TRUST = 0.25
"""Number of runs of the same work that weigh as much as everything that other runs say."""
_UNCORRECTED = (0.7, 1.0, 1.5)
"""Factor over what the plan expects that a run takes, as long as none has told."""
_APART = 1.5
_MOST_FIXED = 0.9


def _same_work(key: RunKey, work: Work | None) -> Hashable:
    """Key of runs whose units of work take as long."""
    return None if work is None else (key.user, key.script, key.gpus, work.unit, work.shape)


def _thinned(likely: list[tuple[float, float]]) -> tuple[float, ...]:
    """Lengths with probabilities that add up to 1, as equally likely ones of the same mean."""
    likely.sort()
    share = 1 / SAMPLES
    points: list[float] = []
    room, total = share, 0.0
    for length_s, probability in likely:
        left = probability
        while left >= room:
            points.append((total + length_s * room) / share)
            left -= room
            room, total = share, 0.0
        total += length_s * left
        room -= left
    if len(points) < SAMPLES:  # rounding has kept the last from being full
        points.append(total / (share - room))
    return tuple(sorted(points))


def _narrowing(key: RunKey) -> list[tuple[Hashable, str]]:
    """The kinds that a run belongs to, widest first, with words for people."""
    gpus = "1 GPU" if key.gpus == 1 else f"{key.gpus} GPUs"
    limit_s = key.limit_s
    kinds: list[tuple[Hashable, str]] = [(key.gpus, f"on {gpus} by anybody")]
    if limit_s is not None:
        kinds.append(((key.gpus, "limit", limit_s), f"on {gpus} with this time limit"))
    kinds.append(((key.user, key.gpus), f"on {gpus} by {key.user}"))
    same = (key.user, key.script, key.gpus)
    words = f"of {key.script} on {gpus} by {key.user}"
    if key.script:
        kinds.append((same, words))
    if limit_s is not None:
        words = words if key.script else f"on {gpus} by {key.user}"
        kinds.append(((*same, "limit", limit_s), f"{words} with this time limit"))
    if key.ablation:
        kinds.append(((*same, key.ablation), f"of {key.ablation} ({key.script}) on {gpus}"))
    return kinds
