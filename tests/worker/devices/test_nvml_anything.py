"""Promises of `Devices`, for any answers of the driver."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MIB = 1024**2
FUNCTIONS = [
    "all",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetTopologyCommonAncestor",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetNvLinkRemoteDeviceType",
    "nvmlEventSetCreate",
    "nvmlDeviceRegisterEvents",
    "nvmlEventSetWait_v2",
]
CODES = [*range(1, 31), 999]
rules = st.lists(
    st.tuples(st.sampled_from(FUNCTIONS), st.integers(-1, 7), st.sampled_from(CODES)), max_size=4
)


def check(nvml, uuids: set[str]) -> None:
    """Invariants of every snapshot."""
    snapshot = nvml.snapshot()
    gpus = snapshot.gpus
    assert {g.uuid for g in gpus} >= uuids
    assert len({g.uuid for g in gpus}) == len(gpus)
    assert [g.index for g in gpus] == list(range(len(gpus)))
    assert [len(row) for row in snapshot.links] == [len(gpus)] * len(gpus)
    for gpu in gpus:
        assert gpu.health.ok == (not gpu.health.problems)
        assert all(sentence.endswith(".") for sentence in gpu.health.problems)
    assert nvml.ask("clear", uuids=sorted(uuids), pids=[4_190_000]) in {True, False}


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(first=rules, then=rules)
def test_any_error_of_any_function(nvml, box, tmp_path, first, then):
    """From the start or later, no error of any function raises or loses a GPU from the list."""
    healthy = list(box.lines)
    box.lines = healthy + [f"error {name} {gpu} {code}" for name, gpu, code in first]
    box.write()
    nvml.open(tmp_path)
    try:
        check(nvml, set())
        known = {g.uuid for g in nvml.snapshot().gpus}

        box.lines = healthy + [f"error {name} {gpu} {code}" for name, gpu, code in then]
        box.write()
        for _ in range(3):
            check(nvml, {uuid for uuid in known if "unreadable" not in uuid})

        box.lines = healthy
        box.write()
        nvml.until(lambda s: sum(g.health.ok for g in s.gpus) == 8, "all eight are well again")
    finally:
        box.lines = healthy
        nvml.ask("close")


facts = st.fixed_dictionaries(
    {
        "used": st.integers(0, 70_000 * MIB),
        "utilization": st.integers(0, 100),
        "temperature": st.integers(0, 110),
        "power": st.integers(0, 1_200_000),
        "minor": st.integers(0, 200),
        "mig": st.sampled_from([0, 0, 0, 1]),
        "ecc": st.sampled_from([0, 0, 0, 5]),
    }
)
processes = st.lists(
    st.tuples(st.integers(0, 7), st.integers(4_000_000, 4_100_000), st.integers(0, 2**40)),
    max_size=20,
    unique_by=lambda entry: entry[:2],
)


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(facts, min_size=8, max_size=8), processes)
def test_any_state_is_reported_as_it_is(nvml, box, tmp_path, states, entries):
    """Every value of every GPU is the driver's, and every process is on its GPU."""
    lines = list(box.lines)
    for gpu, state in zip(box.gpus, states, strict=True):
        gpu.update(state)
    box.lines = lines + [f"process {gpu} compute {pid} {size}" for gpu, pid, size in entries]
    box.write()
    nvml.open(tmp_path)
    try:
        snapshot = nvml.snapshot()
    finally:
        box.lines = lines
        nvml.ask("close")

    for index, (gpu, state) in enumerate(zip(snapshot.gpus, states, strict=True)):
        assert gpu.memory_used_bytes == state["used"]
        assert gpu.utilization_percent == (None if state["mig"] else state["utilization"])
        assert gpu.temperature_c == state["temperature"]
        assert gpu.power_w == pytest.approx(state["power"] / 1000)
        assert gpu.minor == state["minor"]
        assert gpu.mig == bool(state["mig"])
        assert gpu.health.ok == (not state["ecc"])
        listed = {(p.pid, p.memory_bytes) for p in gpu.processes}
        assert listed == {(pid, size) for on, pid, size in entries if on == index}
