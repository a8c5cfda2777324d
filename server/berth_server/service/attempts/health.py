"""Health of running attempts: stalls, stragglers, losses in logs, limits that will not be kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import Examination
from berth.protocol.message import Message
from berth.protocol.progress import CurveTrouble
from berth.protocol.specs import OnStall
from berth.protocol.states import AttemptState, Outcome
from berth_server.core.explain import alerts
from berth_server.core.explain.alerts import AlertKind
from berth_server.core.model import RunningView
from berth_server.core.progress.idleness import Idleness
from berth_server.core.progress.stalls import GpuLoad, ProcessActivity, Suspicion, Vitals, is_alive
from berth_server.service.attempts.status import stop_attempt
from berth_server.service.logs.curve_watch import Finding, on_findings
from berth_server.service.progress.beliefs import AttemptKey
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import attempts, events, jobs, messages

_DEBUGGING = re.compile(
    r"\(i?pdb\)|pdb session|debugpy|pydevd|breakpoint|wait(?:ing)? for (?:a )?(?:debugger|client|connection|attach)",
    re.IGNORECASE,
)
# An examination that is not answered within this is asked for again.
_PATIENCE_S = 120.0
# The time left has to exceed the limit's by this factor, for so long, before it is said.
_SHORT = 1.05
_SURE_S = 600.0


# An attempt that is younger has shown nothing that a look would miss.
_BEFORE_S = 60.0
_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)


@dataclass
class _Watched:
    """Memory of one attempt between two looks."""

    vitals: Vitals = field(default_factory=Vitals)
    idleness: Idleness = field(default_factory=Idleness)
    told: set[AlertKind] = field(default_factory=set)
    asked: int = 0
    asked_at: float = 0.0
    suspicion: Suspicion | None = None
    short_since: float | None = None
    diverged: bool = False
    """True while its log prints losses that are not finite."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    key: AttemptKey
    kind: AlertKind
    message: Message
    stop: OnStall = "warn"
    ends_as: Outcome = Outcome.STALLED
    """Outcome where it is stopped."""


class HealthWatch:
    """Watches the running attempts, as often as `look` is called; every few seconds."""

    def __init__(self) -> None:
        self._watched: dict[AttemptKey, _Watched] = {}
        self._number = 0

    def unseen(self, server: ServerState) -> dict[AttemptKey, tuple[tuple[str, ...], float]]:
        """Attempts that ran before this watch began: their GPUs, and since when they run."""
        now = server.clock()
        return {
            key: (view.gpu_uuids, view.started_at.timestamp())
            for key, view in _running(server).items()
            if key not in self._watched
            and view.started_at is not None
            and now - view.started_at.timestamp() > _BEFORE_S
        }

    def recall(self, server: ServerState, powers: Mapping[AttemptKey, list[float]]) -> None:
        """Take what the GPUs of such attempts drew at most, and what was said of them already."""
        for key, busiest_w in powers.items():
            watched = self._watched[key] = _Watched(vitals=Vitals(busiest_w=busiest_w))
            for kind in _KINDS:
                said = events.newest_of(server.db.read, (f"job.{kind}",), (key[0],)).get(key[0])
                message = None if said is None else messages.decode(said.message)
                if said is not None and said.number == key[1] and message is not None:
                    watched.told.add(kind)
                    server.alerts.setdefault(key, {})[kind] = message

    def look(self, server: ServerState) -> None:
        """Take the present state of the box; tell what is new, and act where a job asked for it."""
        now = server.clock()
        snapshot = server.worker_state.snapshot
        running = _running(server)
        for key in [key for key in self._watched if key not in running]:
            del self._watched[key]
            server.alerts.pop(key, None)
            server.examinations.pop(key, None)
            server.cache.examining.pop(key, None)
        if snapshot is None or not server.worker_state.fresh(now, server.options.stale_after_s):
            return
        gpus = {gpu.uuid: gpu for gpu in snapshot.gpus}
        found: list[_Found] = []
        for key, view in running.items():
            watched = self._watched.setdefault(key, _Watched())
            mine = [gpus[uuid] for uuid in view.gpu_uuids if uuid in gpus]
            found += self._of_one(server, key, view, watched, mine, now)
        self._tell(server, found)

    def _of_one(
        self,
        server: ServerState,
        key: AttemptKey,
        view: RunningView,
        watched: _Watched,
        gpus: list[GpuSnapshot],
        now: float,
    ) -> Iterable[_Found]:
        signs = server.progress.signs.get(key)
        if signs is not None and signs.diverged is not watched.diverged:
            watched.diverged = signs.diverged
            self._loss(server, key, now, lost=signs.diverged)
        yield from self._short_limit(server, key, view, watched, now)
        yield from self._idle(server, key, watched, gpus, now)
        if not gpus or signs is None or view.memory_bytes is not None:
            return
        watched.vitals.look(now, [_load(gpu) for gpu in gpus])
        if signs.steps is not None:
            odd = watched.vitals.unlike(now, signs.steps)
            if odd is not None:
                yield _Found(key=key, kind="straggler", message=alerts.straggler(gpus[odd].index))
        suspicion = watched.vitals.suspicion(now, signs.steps, signs.wrote_at)
        if suspicion is None or _DEBUGGING.search(signs.tail) is not None:
            if watched.vitals.covers(now):
                self._recovered(server, key, watched)
        elif "stalled" not in watched.told:
            yield from self._suspected(server, key, watched, suspicion, gpus, now)

    @staticmethod
    def _loss(server: ServerState, key: AttemptKey, now: float, *, lost: bool) -> None:
        """The losses that its log prints are not finite any more, or are so again."""
        at = server.progress.shown(key, now)
        trouble = CurveTrouble(kind="not_finite", step=None if at is None else at.step)
        on_findings(server, {key: Finding("loss", trouble) if lost else None})

    def _suspected(
        self,
        server: ServerState,
        key: AttemptKey,
        watched: _Watched,
        suspicion: Suspicion,
        gpus: list[GpuSnapshot],
        now: float,
    ) -> Iterable[_Found]:
        """Have its processes looked at; it has stalled where none of them does anything."""
        answer = server.examinations.get(key)
        if watched.suspicion is None or watched.suspicion.since != suspicion.since:
            watched.asked = 0
        watched.suspicion = suspicion
        if watched.asked and answer is not None and answer.number == watched.asked:
            watched.asked = 0
            self._done(server, key)
            spinning = replace(suspicion, spinning=tuple(gpus[i].index for i in suspicion.spinning))
            if not is_alive(spinning, _activity(answer)):
                record = jobs.get(server.db.read, key[0])
                action = record.spec.on_stall if record is not None else "warn"
                message = alerts.stalled(
                    suspicion.kind,
                    now - suspicion.since,
                    [gpu.index for gpu in gpus],
                    answer.stacks,
                    action,
                )
                yield _Found(key=key, kind="stalled", message=message, stop=action)
                return
        if not watched.asked or now - watched.asked_at > _PATIENCE_S:
            self._number += 1
            watched.asked, watched.asked_at = self._number, now
            server.cache.examine(key, self._number)
            server.on_desired.send()

    def _short_limit(
        self,
        server: ServerState,
        key: AttemptKey,
        view: RunningView,
        watched: _Watched,
        now: float,
    ) -> Iterable[_Found]:
        """A run that will not finish within its limit, once that has been so for a while."""
        (view,) = server.progress.with_remaining({key: view}, now)
        remaining, limit = view.remaining, view.time_limit
        if remaining is None or limit is None or view.started_at is None:
            return
        limit_left_s = limit.total_seconds() - (now - view.started_at.timestamp())
        left_s = remaining.quantile_s(0.5, moment(now))
        if left_s <= _SHORT * limit_left_s:
            watched.short_since = None
            if left_s < limit_left_s and "limit_too_short" in watched.told:
                watched.told.discard("limit_too_short")
                server.alerts.get(key, {}).pop("limit_too_short", None)
            return
        watched.short_since = watched.short_since or now
        # Near its end there is no time left to be sure in.
        if now - watched.short_since >= min(_SURE_S, limit_left_s / 10):
            message = alerts.limit_too_short(key[0], remaining, left_s, limit_left_s, limit)
            yield _Found(key=key, kind="limit_too_short", message=message)

    @staticmethod
    def _done(server: ServerState, key: AttemptKey) -> None:
        """The processes need not be looked at any more."""
        server.cache.examine(key, 0)
        server.examinations.pop(key, None)
        server.on_desired.send()

    @staticmethod
    def _idle(
        server: ServerState,
        key: AttemptKey,
        watched: _Watched,
        gpus: list[GpuSnapshot],
        now: float,
    ) -> Iterable[_Found]:
        """Tell a job whose GPUs do nothing, and stop it for good, as the box's policy says."""
        policy = server.options.idle
        told_after = policy.told_after
        if told_after is None:
            return
        idle_s = watched.idleness.look(now, [gpu.utilization_percent for gpu in gpus])
        if idle_s == 0.0 and "idle" in watched.told:
            watched.told.discard("idle")
            server.alerts.get(key, {}).pop("idle", None)
        if idle_s < told_after.total_seconds():
            return
        record = jobs.get(server.db.read, key[0])
        if record is None or not policy.applies(record.spec.labels):
            return
        indices = [gpu.index for gpu in gpus]
        stop_after = policy.stop_after
        if stop_after is not None and idle_s >= stop_after.total_seconds():
            yield _Found(
                key=key,
                kind="idle",
                message=alerts.stopped_idle(indices, idle_s),
                stop="stop",
                ends_as=Outcome.CANCELLED,
            )
        elif "idle" not in watched.told:
            message = alerts.idle(indices, idle_s, stop_after, key[0])
            yield _Found(key=key, kind="idle", message=message)

    @staticmethod
    def _recovered(server: ServerState, key: AttemptKey, watched: _Watched) -> None:
        if watched.suspicion is not None:
            watched.suspicion, watched.asked = None, 0
            HealthWatch._done(server, key)
        if "stalled" in watched.told:
            watched.told.discard("stalled")
            server.alerts.get(key, {}).pop("stalled", None)

    def _tell(self, server: ServerState, found: list[_Found]) -> None:
        news = [
            one
            for one in found
            if one.ends_as is Outcome.CANCELLED or one.kind not in self._watched[one.key].told
        ]
        if not news:
            return
        with change(server) as tx:
            for one in news:
                job_id, number = one.key
                events.write(tx, f"job.{one.kind}", one.message, job_id=job_id, number=number)
                record = attempts.get(tx, job_id, number)
                if one.stop != "warn" and record is not None:
                    stop_attempt(tx, record, one.ends_as, one.message, by_user=False)
        for one in news:
            self._watched[one.key].told.add(one.kind)
            server.alerts.setdefault(one.key, {})[one.kind] = one.message


def _running(server: ServerState) -> dict[AttemptKey, RunningView]:
    return {
        key: view
        for key, view in server.cache.running.items()
        if server.cache.alive[key].state == AttemptState.RUNNING.value and not view.stopping
    }


def _load(gpu: GpuSnapshot) -> GpuLoad:
    return GpuLoad(gpu.utilization_percent, gpu.power_w, gpu.power_limit_w)


def _activity(answer: Examination) -> list[ProcessActivity]:
    return [
        ProcessActivity(
            pid=one.pid,
            cpu=one.cpu,
            io_bytes_s=one.io_bytes_s,
            gpu=one.gpu,
            rank=one.rank,
            debugged=one.debugged,
        )
        for one in answer.processes
    ]
