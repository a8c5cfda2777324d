"""On which simulated GPU a process sits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from berth_worker.devices import processes
from berth_worker.devices.processes import Process
from berth_worker.devices.simulated_placement import place

RANK = {b"LOCAL_RANK": b"1", b"CUDA_VISIBLE_DEVICES": b"4,5", b"BERTH_ATTEMPT": b"42.1"}


@pytest.mark.parametrize("last", [{}, {**RANK, b"LOCAL_RANK": b""}])
def test_a_rank_that_ends_meanwhile_is_seated_by_what_was_read(monkeypatch, last):
    """Its environment vanishes, or is another program's, right after it was first read."""
    readings: Iterator[dict[bytes, bytes]] = iter([RANK])
    monkeypatch.setattr(processes, "environment", lambda _pid: next(readings, last))
    monkeypatch.setattr(processes, "age_s", lambda _process: 0.0)
    rank = Process(pid=7, parent=1, started_ticks=0, state="R", cpu_ticks=0, resident_bytes=1 << 20)

    assert place({7}, {7: rank}, (4, 5)) == {5: [rank]}
