"""Where simulated GPUs show a process: properties over families of any shape."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from berth_worker.devices import seats
from berth_worker.processes import Process

leases = st.lists(st.integers(0, 7), min_size=1, max_size=8, unique=True).map(sorted).map(tuple)
visible = st.one_of(
    st.none(),
    st.just(""),
    st.just("GPU-7"),
    st.lists(st.integers(0, 7), min_size=1, max_size=8).map(lambda v: ",".join(map(str, v))),
)
members = st.tuples(
    st.integers(0, 12),  # parent
    st.integers(0, 2**30),  # resident
    st.one_of(st.none(), st.integers(0, 7)),  # rank
    visible,
    st.booleans(),  # started by the shim, with the mark
)


@given(st.lists(members, max_size=12), leases, st.data())
def test_any_family(family, lease, data):
    """Only the family is seated, each rank once and alone of its helpers, and the lease decides
    where the environment does not.
    """
    table: dict[int, Process] = {}
    variables: dict[int, dict[str, str]] = {}
    for pid, (parent, resident, rank, cards, marked) in enumerate(family, start=100):
        # Parents come first, as pids do; a missing one is outside the family.
        table[pid] = Process(pid, 99 + min(parent, pid - 100), 0, "S", 0, resident)
        variables[pid] = {
            name: value
            for name, value in (
                ("LOCAL_RANK", None if rank is None else str(rank)),
                ("CUDA_VISIBLE_DEVICES", cards),
                ("BERTH_ATTEMPT", "1.1" if marked else None),
            )
            if value is not None
        }
    pids = data.draw(st.sets(st.sampled_from(sorted(table)))) if table else set()

    with mock.patch.object(seats, "_variables", lambda process: variables[process.pid]):
        found = seats.seats(pids, table, lease)

    seated = [(index, process.pid) for index, group in found.items() for process in group]
    assert {pid for _, pid in seated} <= pids
    assert len(seated) == len(set(seated))
    ranks = {
        pid: int(variables[pid]["LOCAL_RANK"])
        for pid in pids
        if "LOCAL_RANK" in variables[pid]
        and variables[pid]["LOCAL_RANK"] != variables.get(table[pid].parent, {}).get("LOCAL_RANK")
    }
    for index, pid in seated:
        cards = variables[pid].get("CUDA_VISIBLE_DEVICES", "")
        known = [int(card) for card in cards.split(",")] if cards[:1].isdigit() else list(lease)
        assert index in known
        if ranks:
            assert index == known[ranks[pid]]
            assert [on for on, rank_pid in seated if rank_pid == pid] == [index]
    if not ranks:
        started = {pid for pid in pids if "BERTH_ATTEMPT" in variables[pid]}
        assert len({pid for _, pid in seated}) == min(1, len(started))
        assert {pid for _, pid in seated} <= started
