"""No split sees another, and history never tells what is to be predicted."""

from typing import get_args

import pytest

from berth_trainer.config.settings import DialogueHistorySettings, Strategy
from berth_trainer.data.dialogue_history import HistoryPool
from berth_trainer.data.load import load_material
from berth_trainer.data.records import Dialogue, Turn
from berth_trainer.data.samples import make_samples
from berth_trainer.data.similarity import Similarity
from berth_trainer.data.splits import split


@pytest.fixture(scope="module")
def material(corpus_folder, tmp_path_factory):
    """The corpus, a tenth held out twice."""
    from berth_trainer.config.config_file import settings_from

    document = {
        "model": {"path": "m"},
        "data": {
            "train_path": str(corpus_folder), "validation_fraction": 0.1, "test_fraction": 0.1,
        },
    }  # fmt: skip
    return load_material(settings_from(document, source=tmp_path_factory.mktemp("c") / "c.json"))


def talk(name, *texts, first="p", when=0.0):
    other = "t" if first == "p" else "p"
    turns = tuple(Turn((first, other)[n % 2], text) for n, text in enumerate(texts))
    return Dialogue(name, turns, ("t",), (when, name))


def test_every_dialogue_is_in_exactly_one_split(material):
    """By identity and by words: a record that stands twice shares a split with its twin."""
    parts = [material.splits.train, material.splits.validation, material.splits.test]

    assert len(material.corpus.dialogues) == sum(map(len, parts))
    ids = [{dialogue.id for dialogue in part} for part in parts]
    words = [{tuple(turn.text for turn in dialogue.turns) for dialogue in part} for part in parts]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not ids[one] & ids[other]
        assert not words[one] & words[other]


def test_held_out_fractions_are_kept_and_repeatable(material):
    """Every rank divides for itself: all must come to the same."""
    dialogues = material.corpus.dialogues
    again = split(dialogues, validation=0.1, test=0.1, seed=42)

    assert again == material.splits
    assert split(dialogues, validation=0.1, test=0.1, seed=43) != material.splits
    assert abs(len(again.validation) - len(dialogues) / 10) <= 1
    assert abs(len(again.test) - len(dialogues) / 10) <= 1


def test_most_held_out_samples_have_history(material):
    """Held-out speakers keep several dialogues, else history ablations would measure nothing."""
    for part in (material.splits.validation, material.splits.test):
        pool = HistoryPool(part, DialogueHistorySettings(), 42)
        samples = make_samples(part)
        bare = sum(1 for s in samples if not pool.choose(s.dialogue, s.index))
        assert bare <= len(samples) * 0.35


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_history_never_leaks(material, strategy):
    """Not from the dialogue that is predicted, not from another split, at most max_history."""
    settings = DialogueHistorySettings(strategy=strategy, max_history=15)
    for part in (material.splits.train[:60], material.splits.validation, material.splits.test):
        inside = {dialogue.id for dialogue in part}
        pool = HistoryPool(part, settings, 42)
        for sample in make_samples(part, limit=150):
            chosen = pool.choose(sample.dialogue, sample.index)
            assert len(chosen) <= 15
            assert all(remark.dialogue != sample.dialogue.id for remark in chosen)
            assert all(remark.dialogue in inside for remark in chosen)


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_history_stands_in_time_order_and_is_repeatable(material, strategy):
    """Whatever picked it: the same sample gets the same history on every rank."""
    part = material.splits.train[:60]
    order = {dialogue.id: dialogue.order for dialogue in part}
    first, second = (
        HistoryPool(part, DialogueHistorySettings(strategy=strategy), 42) for _ in range(2)
    )
    for sample in make_samples(part, limit=60):
        chosen = first.choose(sample.dialogue, sample.index)
        assert list(chosen) == sorted(chosen, key=lambda remark: order[remark.dialogue])
        assert chosen == second.choose(sample.dialogue, sample.index)


def pool_of(strategy, **options):
    dialogues = [talk(str(n), f"question {n}", f"remark {n}", when=n) for n in range(20)]
    now = talk("now", "hello there", "the target", when=30)
    return HistoryPool(
        [*dialogues, now], DialogueHistorySettings(strategy=strategy, **options), 1
    ), now


@pytest.mark.parametrize(
    ("strategy", "options", "expected"),
    [
        ("all_previous", {"max_history": 15}, list(range(5, 20))),
        ("all_previous", {"max_history": 100}, list(range(20))),
        ("fixed_count", {"count": 3}, [17, 18, 19]),
        ("fixed_count", {"count": 9, "max_history": 2}, [18, 19]),
        ("fixed_ratio", {"ratio": 0.25}, [15, 16, 17, 18, 19]),
        ("fixed_ratio", {"ratio": 0.0}, [19]),
    ],
)
def test_the_latest_remarks_are_taken(strategy, options, expected):
    """Counted from the end, and never more than max_history."""
    pool, now = pool_of(strategy, **options)

    assert [f"remark {n}" for n in expected] == [r.text for r in pool.choose(now, 1)]


def test_random_history_is_spread():
    """It is not the latest ones in disguise."""
    pool, now = pool_of("random", max_history=5)

    chosen = [remark.text for remark in pool.choose(now, 1)]
    assert len(set(chosen)) == 5
    assert chosen != [f"remark {n}" for n in range(15, 20)]


def test_relevant_history_is_what_the_talk_is_about():
    """Character n-grams find it where there are no spaces to split at."""
    dialogues = [
        talk("1", "何が好き", "犬が大好きで毎日散歩に行きます", when=1),
        talk("2", "朝食は", "朝はパンとコーヒーです", when=2),
        talk("3", "仕事は", "病院で働いています", when=3),
    ]
    now = talk("now", "犬の散歩は好きですか", "はい", when=4)
    settings = DialogueHistorySettings(strategy="relevance", max_history=1)

    chosen = HistoryPool([*dialogues, now], settings, 1).choose(now, 1)

    assert [remark.text for remark in chosen] == ["犬が大好きで毎日散歩に行きます"]


def test_an_exchange_recorded_twice_is_no_history_of_itself():
    """Overlapping records of one conversation would otherwise give the answer away."""
    now = talk("now", "where do you live?", "in Sapporo, near the tower", when=2)
    twin = talk("twin", "where do you live?", "in Sapporo, near the tower", when=1)
    other = talk("other", "hello", "hi", when=0)

    chosen = HistoryPool([now, twin, other], DialogueHistorySettings(), 1).choose(now, 1)

    assert [remark.text for remark in chosen] == ["hi"]


def test_similarity_folds_width_and_case():
    """Full-width letters are the same letters."""
    scores = Similarity(["ABC テスト", "something else"]).scores("ａｂｃ テスト")  # noqa: RUF001  # the width is the point

    assert scores[0] > 0.99
    assert scores[1] < 0.2


def test_only_answers_to_a_partner_are_samples():
    """An opening answers nothing; the limit spreads over all dialogues."""
    dialogues = [talk(str(n), "a", "b", "c", "d", first="t") for n in range(10)]

    assert len(make_samples(dialogues)) == 10
    assert {2} == {sample.index for sample in make_samples(dialogues)}
    assert [s.dialogue.id for s in make_samples(dialogues, limit=5)] == ["0", "2", "4", "6", "8"]
