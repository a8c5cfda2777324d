"""Measures of answers, on cases that can be counted by hand."""

import math

import pytest

from berth_trainer.training.text_metrics import (
    Pair,
    bleu,
    distinct,
    measure,
    overlap_f1,
    rouge_l,
    units,
)


def test_units_need_no_spaces():
    """Characters for Japanese and Chinese, words for the rest; width and case are folded."""
    assert units("犬が 好き", "ja") == ["犬", "が", "好", "き"]
    assert units("ＡＢ", "zh") == ["a", "b"]  # noqa: RUF001  # the width is the point
    assert units("I don't know.", "en") == ["i", "don", "'", "t", "know", "."]


def test_the_same_words_are_a_full_match():
    """And nothing in common is none."""
    same = measure(["今日は晴れです"], ["今日は晴れです"], "ja")
    apart = measure(["あいうえ"], ["かきくけ"], "ja")

    for name in ("bleu_1", "bleu_2", "bleu_4", "rouge_l", "f1"):
        assert same[name] == pytest.approx(1)
        assert apart[name] == 0


def test_bleu_is_that_of_the_paper():
    """
    Counted by hand. Answer abcd, reference abcx: three of four characters, two of three pairs.
    An answer shorter than its reference pays exp(1 - r/c); repeated characters count once.
    """
    one = [Pair("abcd", "abcx")]
    assert bleu(one, 1) == pytest.approx(3 / 4)
    assert bleu(one, 2) == pytest.approx(math.sqrt(3 / 4 * 2 / 3))
    assert bleu([Pair("ab", "abcd")], 1) == pytest.approx(math.exp(1 - 4 / 2))
    assert bleu([Pair("aaaa", "ab")], 1) == pytest.approx(1 / 4)
    assert bleu([*one, Pair("xy", "xy")], 1) == pytest.approx(5 / 6), "over the corpus, no mean"


def test_rouge_and_f1_differ_in_order():
    """Of abcd and badc two stand in order, four in any."""
    pair = Pair("abcd", "badc")

    assert rouge_l(pair) == pytest.approx(2 / 4)
    assert overlap_f1(pair) == pytest.approx(1)
    assert rouge_l(Pair("", "abc")) == 0


def test_distinct_tells_repetition():
    """Two equal answers are half as diverse as two different ones."""
    assert distinct(["ab", "ab"], 1) == pytest.approx(2 / 4)
    assert distinct(["ab", "cd"], 1) == pytest.approx(1)
    assert distinct(["ab", "ab"], 2) == pytest.approx(1 / 2)
    assert distinct([], 2) == 0


def test_nothing_to_compare_is_no_number():
    """A leaderboard file that holds every answer back."""
    assert measure([], [], "ja") == {}
