"""`/metrics` for Prometheus: the state at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from berth.protocol.states import HolderKind, JobState
from berth_server.api import routing
from berth_server.api.context import Server
from berth_server.service.gpus.gpu_map import show_box
from berth_server.service.state import ServerState
from berth_server.store import events, jobs

router = routing.router(tag="health")


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(server: Server) -> Response:
    """Open without signing in; names no user and no command."""
    registry = CollectorRegistry()
    registry.register(_State(server))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _State(Collector):
    """Collector that reads the state at each scrape and keeps nothing."""

    def __init__(self, server: ServerState) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        server = self._server
        counts = jobs.counts(server.db.read)
        by_state = GaugeMetricFamily("berth_jobs", "Jobs in each state", labels=["state"])
        for state in JobState:
            by_state.add_metric([state.value], counts.get(state.value, 0))
        yield by_state
        yield GaugeMetricFamily(
            "berth_attempts_unreleased", "Attempts that hold GPUs", len(server.cache.alive)
        )
        yield CounterMetricFamily("berth_events", "Events written", events.last_id(server.db.read))
        yield CounterMetricFamily("berth_scheduling_passes", "Plans made", server.plans)
        yield GaugeMetricFamily(
            "berth_scheduling_pass_seconds", "Moving mean of a plan", server.plan_cost_s
        )
        fresh = server.worker_state.fresh(server.clock(), server.options.stale_after_s)
        yield GaugeMetricFamily("berth_worker_up", "Whether the worker reports", int(fresh))
        yield from self._gpus()

    def _gpus(self) -> Iterable[Metric]:
        names = ["gpu", "uuid"]
        holder = GaugeMetricFamily(
            "berth_gpu_holder", "1 for each kind of holder on it", labels=[*names, "kind"]
        )
        outsiders = GaugeMetricFamily(
            "berth_gpu_outsiders", "External processes on it, leased or not", labels=names
        )
        draining = GaugeMetricFamily("berth_gpu_draining", "No new job goes there", labels=names)
        # Named like those of DCGM, so that its dashboards read them.
        values = {
            "DCGM_FI_DEV_GPU_UTIL": ("GPU utilisation, percent", "utilization_percent"),
            "DCGM_FI_DEV_GPU_TEMP": ("Temperature, Celsius", "temperature_c"),
            "DCGM_FI_DEV_POWER_USAGE": ("Power, watt", "power_w"),
            "berth_gpu_memory_used_bytes": ("Memory in use", "memory_used_bytes"),
            "berth_gpu_memory_total_bytes": ("Memory of the GPU", "memory_total_bytes"),
        }
        families = {n: GaugeMetricFamily(n, text, labels=names) for n, (text, _) in values.items()}
        for gpu in show_box(self._server).gpus:
            labels = [str(gpu.index), gpu.uuid]
            kinds = {gpu.holder.kind, *(one.kind for one in gpu.beside)}
            for kind in HolderKind:
                holder.add_metric([*labels, kind.value], int(kind in kinds))
            alone = gpu.holder.kind is HolderKind.OUTSIDER
            outsiders.add_metric(labels, len(gpu.holder.pids) if alone else len(gpu.beside))
            draining.add_metric(labels, int(gpu.draining))
            for name, (_, field) in values.items():
                value = getattr(gpu, field)
                if value is not None:
                    families[name].add_metric(labels, value)
        yield from (holder, outsiders, draining, *families.values())
