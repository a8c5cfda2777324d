"""Turns: nobody waits for long because somebody else asks a lot."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from berth_server.api.turns import Turns


def run(scene):
    """Run a scene on a loop of its own."""
    return asyncio.run(scene)


def test_a_user_has_so_many_turns_at_once_and_the_rest_wait():
    """None is refused: each gets its turn in the order in which it came."""

    async def scene():
        turns = Turns(2, 10)
        order: list[int] = []
        at_once = most = 0

        async def work(number: int) -> None:
            nonlocal at_once, most
            async with turns.turn("ada"):
                at_once += 1
                most = max(most, at_once)
                order.append(number)
                await asyncio.sleep(0)
                at_once -= 1

        await asyncio.gather(*(work(number) for number in range(20)))
        return order, most

    order, most = run(scene())
    assert most == 2
    assert order == list(range(20))


def test_another_user_goes_before_the_rest_of_a_crowd():
    """However many of one user's wait, and although all turns are taken."""

    async def scene():
        turns = Turns(3, 4)
        done: list[str] = []
        go = asyncio.Event()

        async def work(who: str) -> None:
            async with turns.turn(who):
                await go.wait()
                done.append(who)

        crowd = [asyncio.create_task(work("mallory")) for _ in range(50)]
        others = [asyncio.create_task(work(f"user{i}")) for i in range(3)]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*crowd, *others)
        return done

    done = run(scene())
    assert max(done.index(f"user{i}") for i in range(3)) < 12
    assert Counter(done)["mallory"] == 50


def test_requests_that_never_wait_are_a_crowd_as_well():
    """A hundred of one user, each over in one go, do not all come before somebody else's."""

    async def scene():
        turns = Turns(4, 64)
        done: list[str] = []

        async def work(who: str) -> None:
            async with turns.turn(who):
                done.append(who)

        crowd = [asyncio.create_task(work("mallory")) for _ in range(100)]
        await asyncio.gather(*crowd, asyncio.create_task(work("ada")))
        return done

    done = run(scene())
    assert done.index("ada") < 5
    assert Counter(done)["mallory"] == 100


@pytest.mark.parametrize("handed", [False, True])
def test_a_request_that_is_cancelled_leaves_no_turn_behind(handed):
    """Whether it still waited, or had just been handed its turn."""

    async def scene():
        turns = Turns(1, 1)
        await turns.take("ada")
        waiting = asyncio.create_task(turns.take("ada"))
        await asyncio.sleep(0)
        if handed:
            turns.give("ada")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not handed:
            turns.give("ada")
        await asyncio.wait_for(turns.take("bob"), 5)
        assert turns.waiting("ada") == 0

    run(scene())
