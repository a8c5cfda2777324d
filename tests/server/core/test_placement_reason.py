"""Placement reason: the comparison that chose the GPUs."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from scenes import GIB, box, gpu, job, running

from berth_server.core.explain.placement_reason import placement_reason
from berth_server.core.forecast import plan_with_forecast as plan
from berth_server.core.model import GpuView, LeaseView, Snapshot
from berth_server.core.placement import choose, link_scores, merit, places

NVLINK_HALVES = tuple(
    tuple("X" if a == b else "NV12" if a // 4 == b // 4 else "SYS" for b in range(8))
    for a in range(8)
)


def _why(free: list[GpuView], count: int, links=NVLINK_HALVES):
    return placement_reason(free, choose(free, count, links), links)


def test_links_decide_for_a_gang() -> None:
    """Four of seven: only one set lies within one NVLink half, and the words say so."""
    why = _why([gpu(i) for i in range(1, 8)], 4)
    assert (why.rule, why.link, why.numa_nodes) == ("links", "NV12", [1])
    assert why.free_indices == [1, 2, 3, 4, 5, 6, 7]
    assert why.sentence == (
        "GPUs 4\N{EN DASH}7 are on NUMA node 1 and are joined by NVLink (NV12). "
        "No other 4 of the 7 that were free are linked as well."
    )


def test_nothing_is_said_of_choices_that_were_not_compared() -> None:
    """Of 56 free GPUs there are 367,290 sets of four, many of them linked alike."""
    links = tuple(
        tuple("X" if a == b else "NV12" if a // 8 == b // 8 else "SYS" for b in range(64))
        for a in range(64)
    )
    why = _why([gpu(i) for i in range(8, 64)], 4, links)
    assert (why.rule, why.link) == ("grown", "NV12")
    assert "No other" not in why.sentence
    assert "not every choice was compared" in why.sentence


def test_a_single_job_leaves_the_whole_half_to_others() -> None:
    """The odd GPU out is taken, because the rest stays better linked without it."""
    why = _why([gpu(i) for i in (0, 1, 2, 3, 6)], 1)
    assert why.rule == "rest_links"
    assert why.link is None
    assert why.sentence.startswith("GPU 6 is on NUMA node 1. Of the 5 that were free")


def test_smaller_gpus_and_lower_numbers_break_ties() -> None:
    """Among equals the least memory counts, and only then the index."""
    views = [
        GpuView(uuid=f"GPU-{i}", index=i, memory_total_bytes=size * GIB)
        for i, size in enumerate((80, 40, 80))
    ]
    assert _why(views, 1, ()).rule == "small_cards"
    assert _why([views[0], views[2]], 1, ()).rule == "lowest_index"


def test_nothing_to_choose_is_not_shown_as_a_choice() -> None:
    """Without a choice, no merit is claimed."""
    why = _why([gpu(3), gpu(4)], 2)
    assert (why.rule, why.link) == ("no_choice", "SYS")
    assert why.sentence.endswith("Only these 2 were free.")


@given(st.sets(st.integers(0, 7), min_size=2), st.data())
def test_the_rule_is_what_sets_the_choice_apart(free: set[int], data: st.DataObject) -> None:
    """No other set is as good up to the deciding thing, and some other is up to the one before."""
    views = [gpu(i) for i in sorted(free)]
    count = data.draw(st.integers(1, len(views) - 1))
    chosen = choose(views, count, NVLINK_HALVES)
    rule = placement_reason(views, chosen, NVLINK_HALVES).rule
    where = places(views)
    scores = link_scores(where, NVLINK_HALVES)
    own = tuple(i for i, view in enumerate(views) if view.uuid in chosen)
    best = merit(scores, where, own)
    others = [
        merit(scores, where, other)
        for other in combinations(range(len(views)), count)
        if other != own
    ]
    upto = {"links": 2, "rest_links": 3, "small_cards": 4, "lowest_index": 5}[rule]
    before = {2: 0, 3: 2, 4: 3, 5: 4}[upto]
    assert all(other[:upto] != best[:upto] for other in others)
    assert any(other[:before] == best[:before] for other in others)


def test_a_start_carries_what_it_was_chosen_from() -> None:
    """The plan tells the open GPUs at that moment; a later start no longer counts the first's."""
    busy = running(100, range(2), hours=5)
    snapshot = Snapshot(
        now=job(1, 1).queued_at, gpus=box(busy), running=(busy,), queue=(job(1, 4), job(2, 1))
    )
    starts = plan(snapshot).started
    assert starts[1].among == tuple(f"GPU-{i}" for i in range(2, 8))
    assert set(starts[2].among) == set(starts[1].among) - set(starts[1].gpu_uuids)


def test_a_share_joins_the_fullest_gpu() -> None:
    """The reason of a share is the room that is left, not links."""
    sharer = LeaseView(job_id=9, attempt="9.1", user="bob", memory_bytes=60 * GIB)
    views = (gpu(0), gpu(1, shares=(sharer,)))
    wish = job(1, 1, share=True, gpu_memory_bytes=10 * GIB)
    start = plan(Snapshot(now=wish.queued_at, gpus=views, queue=(wish,))).started[1]
    assert (start.joins, start.among) == (True, ("GPU-1",))
    why = placement_reason(views[1:], start.gpu_uuids, share_bytes=10 * GIB, joins=start.joins)
    assert why.rule == "share"
    assert "fullest shared GPU" in why.sentence


def test_a_cluster_is_told_by_its_nodes() -> None:
    """Links and NUMA nodes are not known there; the node is."""
    views = [
        GpuView(uuid=f"n{i // 4 + 1}:{i % 4}", index=i, memory_total_bytes=80 * GIB, node=node)
        for i, node in enumerate(["n1"] * 4 + ["n2"] * 4)
    ]
    why = placement_reason(views, ("n2:0", "n2:1"), ())
    assert why.rule == "fullest_node"
    assert why.sentence.startswith("GPUs 4\N{EN DASH}5 are on node n2. The fullest nodes with room")
    both = placement_reason(views, ("n1:0", "n2:0"), ())
    assert "GPUs 0, 4 are on nodes n1, n2." in both.sentence
