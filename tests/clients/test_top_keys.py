"""Keys of `berth top`: each does what its line says, and a cancel asks first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from berth.cli.verbs.box.top_keys import Cancel, Quit, TopScreen, keys

UP, DOWN = "\x1b[A", "\x1b[B"


def job(number: int, user: str, name: str, gpus: int):
    return SimpleNamespace(
        id=number, user=user, name=name, gpus=gpus, state=SimpleNamespace(value="running")
    )


JOBS = [job(7, "ada", "train", 4), job(8, "bob", "eval", 1), job(9, "ada", "sweep", 8)]


@pytest.fixture
def screen():
    return TopScreen("ada")


def ids(screen) -> list[int]:
    return [one.id for one in screen.show(JOBS)]


def typed(screen, *pressed: str):
    """Press keys with a look after each; what the last one asks for."""
    done = None
    for key in pressed:
        screen.show(JOBS)
        done = screen.press(key)
    return done


def test_a_chosen_job_is_cancelled_after_a_question(screen):
    """`y` alone is a yes."""
    assert typed(screen, DOWN, DOWN, "k") is None
    assert screen.foot == "Cancel job 8? y/n"
    assert typed(screen, "n") is None
    assert typed(screen, "k", "q") is None
    assert typed(screen, "k", "y") == Cancel(8)


def test_nothing_is_cancelled_unchosen_or_gone(screen):
    """Another job must not stand in its place."""
    assert typed(screen, "k", "y") is None
    typed(screen, DOWN, "k")
    screen.show(JOBS[1:])
    assert screen.press("y") is None


def test_the_choice_moves_within_the_list_and_stays_with_its_job(screen):
    """Also when the order changes."""
    typed(screen, UP)
    assert screen.chosen == 9
    typed(screen, DOWN, UP)
    assert screen.chosen == 8
    typed(screen, "s")
    ids(screen)
    assert screen.chosen == 8


def test_sorting_goes_around(screen):
    """Order of the queue, user, GPUs, name."""
    seen = []
    for _ in range(4):
        seen.append(ids(screen))
        screen.press("s")
    assert seen == [[7, 8, 9], [7, 9, 8], [9, 7, 8], [8, 9, 7]]
    assert screen.sort == "order"


def test_filters(screen):
    """Mine alone, and by text; letters are text there, and escape takes it away."""
    typed(screen, "u")
    assert ids(screen) == [7, 9]
    typed(screen, "u", "/", *"qeva", "\x7f", "\x7f", "\x7f", "\x7f", *"eva", "\r")
    assert ids(screen) == [8]
    assert "'eva'" in screen.foot
    typed(screen, "\x1b")
    assert ids(screen) == [7, 8, 9]


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_leaving(screen, key):
    """By its own key and by the one that leaves everything."""
    assert typed(screen, key) == Quit()


def test_keys_of_a_terminal():
    """Arrows in both their spellings, beside letters."""
    assert keys(b"a\x1b[A\x1bOBk") == ["a", UP, DOWN, "k"]
    assert keys(b"\x1b") == ["\x1b"]
