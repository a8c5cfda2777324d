"""docs/launching.md tells the truth: its examples are what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from berth.commands import CommandError, LeaseFacts, Runtime, read, rewrite

PAGE = Path(__file__).parents[2] / "docs" / "launching.md"
LEASE = LeaseFacts(indices=(2, 3, 6, 7), visible=(2, 3, 6, 7), port=31007)
RUNTIME = Runtime(python="/envs/twin/bin/python", accelerate_config="/berth/accelerate.yaml")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Pairs of what is typed and what the page says becomes of it."""
    blocks = [block.strip() for block in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]
    return list(zip(blocks[::2], blocks[1::2], strict=True))


def answer(typed: str) -> str:
    """The started command, or the sentence of the refusal."""
    try:
        return rewrite(read(typed.removeprefix("$ ")), LEASE, RUNTIME).after
    except CommandError as error:
        return str(error)


@pytest.mark.parametrize(("typed", "shown"), examples(), ids=lambda text: text[:50])
def test_the_page_shows_what_happens(typed, shown):
    """Each example of the page is what a pasted command becomes."""
    assert typed.startswith("$ ")
    assert shown == answer(typed)


def test_the_page_has_an_example_of_every_launcher():
    """No launcher is left out."""
    typed = " ".join(line for line, _ in examples())

    assert all(name in typed for name in ("deepspeed", "accelerate", "torchrun", "python"))
