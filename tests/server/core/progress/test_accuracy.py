"""Time left by recorded logs of real programs, held against when they really ended."""

from __future__ import annotations

from statistics import median

import pytest
from tests.server.core.progress.recordings import COMMANDS, counted, recordings, replayed

CANNOT_TELL = {
    *("catboost", "lightgbm", "xgboost", "skorch", "spacy", "stable_baselines3"),  # no total
    *("lightning_one_epoch", "two_phases", "printed_samples_of_epochs"),  # how many are there?
    *("rich_track", "transformers_disable_tqdm_buffered"),  # nothing until the end
}
BEGINS_AGAIN = "tqdm_untold"


@pytest.mark.parametrize("name", sorted(recordings().keys() - CANNOT_TELL - {BEGINS_AGAIN}))
def test_the_time_left_is_told_and_right(name):
    """From a tenth of the run on: 15 % wrong in the median, 35 % in nine of ten, never twofold."""
    recording = recordings()[name]
    samples = counted(recording, replayed(recording, COMMANDS.get(name, "")))
    told = [sample for sample in samples if sample.p50_s is not None]
    errors = sorted(sample.error for sample in told)

    known = [s for s in samples if s.fraction is not None and s.fraction >= 0.15]
    least = 0.4 if name == "printed_epochs_last_index" else 0.75
    assert sum(s.p50_s is not None for s in known) >= least * len(known) > 0
    assert median(errors) <= 0.15
    assert errors[int(0.9 * (len(errors) - 1))] <= 0.35
    assert all(0.5 <= (s.p50_s or 0.0) / s.true_s <= 2.0 for s in told if s.true_s > 10)


@pytest.mark.parametrize("name", sorted(CANNOT_TELL))
def test_what_cannot_be_told_is_not(name):
    """No total, no number of epochs, or nothing before the end: no time left is made up."""
    recording = recordings()[name]
    assert not [s for s in replayed(recording) if s.p50_s is not None]


def test_the_time_left_of_an_evaluation_is_not_the_run_s():
    """MetricLogger states one for each epoch and for each evaluation, in the same words."""
    assert not [s for s in replayed(recordings()["torchvision_references"]) if s.p50_s is not None]


def test_a_bar_that_begins_again_tells_nothing_any_more():
    """Epochs that nothing counts: from the second on it does not jump to done, nor guess."""
    recording = recordings()[BEGINS_AGAIN]
    samples = replayed(recording)
    first_end = next(s.at_s for s in samples if s.fraction is not None and s.fraction >= 0.98)
    after = [s for s in samples if s.at_s > first_end + 4]
    assert len(after) > 20
    assert not [s for s in after if s.fraction is not None or s.p50_s is not None]


def test_a_script_that_loops_over_epochs_has_no_bar_of_the_whole_run():
    """Where the code says that there are epochs and the log does not, nothing is told at all."""
    assert not [
        sample
        for sample in replayed(recordings()[BEGINS_AGAIN], loops_over_epochs=True)
        if sample.p50_s is not None
    ]


def test_the_script_says_how_many_epochs_there_are():
    """Where neither the command nor the log does: the number that it sets, or its default."""
    recording = recordings()["printed_samples_of_epochs"]
    for script in ("epochs = 5\n", "parser.add_argument('--epochs', type=int, default=5)\n"):
        samples = counted(recording, replayed(recording, script=script))
        told = [sample.error for sample in samples if sample.p50_s is not None]
        assert len(told) >= 0.7 * len(samples)
        assert median(told) <= 0.15
        assert max(told) < 0.5
    assert not [s for s in replayed(recording, script="epochs = 5\nepochs = 9\n") if s.p50_s]


def test_nine_of_ten_end_within_the_upper_bound():
    """`seconds_left_p90` is what it says, over all programs."""
    kept: list[bool] = []
    for name in recordings().keys() - CANNOT_TELL - {BEGINS_AGAIN}:
        recording = recordings()[name]
        samples = counted(recording, replayed(recording, COMMANDS.get(name, "")))
        kept += [s.true_s <= s.p90_s for s in samples if s.p90_s is not None]
    assert sum(kept) / len(kept) >= 0.85
