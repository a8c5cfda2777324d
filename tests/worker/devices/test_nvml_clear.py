"""Release of an ended attempt's GPUs: its processes and their memory are gone."""

from __future__ import annotations

GIB = 1024**3
MIB = 1024**2


def clear(nvml, uuids, *pids) -> bool:
    """Ask the devices."""
    return nvml.ask("clear", uuids=list(uuids), pids=list(pids))


def test_not_clear_while_a_process_is_there(nvml, box, tmp_path):
    """As long as one of the pids is on one of the GPUs they are not clear; then they are."""
    nvml.open(tmp_path)
    nvml.snapshot()
    box.put(1, 4_190_000, GIB)
    box.write()

    assert not clear(nvml, box.uuids[:2], 4_190_000, 4_190_001)
    assert clear(nvml, box.uuids[2:], 4_190_000)

    box.lines.remove(f"process 1 compute 4190000 {GIB}")
    box.gpus[1]["used"] = 3 * MIB
    box.write()
    assert clear(nvml, box.uuids[:2], 4_190_000, 4_190_001)


def test_not_clear_while_it_draws(nvml, box, tmp_path):
    """A process that only draws, or is a client of MPS, holds the GPU too."""
    nvml.open(tmp_path)
    nvml.snapshot()
    box.put(1, 4_190_000, GIB, kind="graphics")
    box.put(2, 4_190_001, GIB, kind="mps")
    box.write()

    assert not clear(nvml, [box.uuids[1]], 4_190_000)
    assert not clear(nvml, [box.uuids[2]], 4_190_001)


def test_not_clear_while_memory_is_held_by_no_process(nvml, box, tmp_path):
    """Memory that no process explains, beyond what an empty GPU shows, is not clear."""
    nvml.open(tmp_path)
    nvml.snapshot()
    box.gpus[0]["used"] = 500 * MIB
    box.write()
    assert not clear(nvml, [box.uuids[0]])

    box.gpus[0]["used"] = 40 * MIB
    box.write()
    assert clear(nvml, [box.uuids[0]])


def test_leftover_memory_next_to_a_display(nvml, box, tmp_path):
    """An Xorg neither holds a lease nor hides what a job has left behind."""
    box.put(0, 4_190_000, 60 * MIB, kind="graphics")
    box.write()
    nvml.open(tmp_path)
    nvml.snapshot()
    assert clear(nvml, [box.uuids[0]], 4_190_001)

    box.gpus[0]["used"] += 500 * MIB
    box.write()
    assert not clear(nvml, [box.uuids[0]], 4_190_001)


def test_memory_that_was_always_there_belongs_to_no_process(nvml, box, tmp_path):
    """Memory that an empty GPU shows as used from the start does not keep a lease for ever."""
    box.gpus[0]["used"] = 900 * MIB
    box.write()
    nvml.open(tmp_path)
    nvml.snapshot()

    assert clear(nvml, [box.uuids[0]])


def test_an_outsider_does_not_hold_the_lease(nvml, box, tmp_path):
    """Somebody else on the GPU explains his memory; the ended attempt has left."""
    nvml.open(tmp_path)
    nvml.snapshot()
    box.put(0, 4_190_000, 20 * GIB)
    # Page tables and the like are used in addition to a process, and not in its account.
    box.gpus[0]["used"] += 300 * MIB
    box.write()

    assert clear(nvml, [box.uuids[0]], 4_190_001)


def test_a_broken_gpu_is_left(nvml, box, tmp_path):
    """A lost GPU, or a driver that is gone, does not keep a lease: nothing is placed there."""
    nvml.open(tmp_path)
    nvml.snapshot()
    box.gpus[0]["lost"] = 1
    box.write()
    assert clear(nvml, [box.uuids[0]], 4_190_000)

    box.add("gone 1")
    box.write()
    assert clear(nvml, box.uuids, 4_190_000)


def test_an_unknown_gpu_is_left(nvml, tmp_path):
    """A UUID that is not of this box holds nothing here."""
    nvml.open(tmp_path)

    assert clear(nvml, ["GPU-of-another-box"], 4_190_000)
