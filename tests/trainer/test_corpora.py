"""Reading the two corpus formats."""

import json

import pytest

from berth_trainer.data.digitaltwin import PARTNER
from berth_trainer.data.load import load_material, read_corpus
from berth_trainer.data.records import Turn, merge_turns
from berth_trainer.data.samples import make_samples, open_questions
from berth_trainer.errors import UserError


def item(*entries, name="小明"):
    return {
        "user_hash": "h1",
        "user": {
            "profile": {"name": name, "城市": "成都"},
            "personality": {
                "structured": {
                    "BigFive": {
                        "explanation": "",
                        "dimensions": {"Openness": {"score": 4, "description": "好奇"}},
                    }
                },
                "unstructured": "爱笑\n爱吃火锅",
            },
        },
        "task": {"description": "", "task_behavior_collections": [{"data": list(entries)}]},
    }


def said(source, content):
    return {"source": source, "content": content}


def test_consecutive_turns_of_a_speaker_become_one():
    """Chat templates demand that roles alternate; empty utterances vanish."""
    merged = merge_turns([("a", "x"), ("a", "y"), ("b", " "), ("a", "z"), ("b", "w")])

    assert (Turn("a", "x\ny\nz"), Turn("b", "w")) == merged


def test_realpersonachat_is_read_whole(corpus_folder):
    """Every file becomes a dialogue, every speaker has a profile with all persona sentences."""
    corpus = read_corpus(corpus_folder, "realpersonachat")
    people = json.loads((corpus_folder / "interlocutors.json").read_text("utf-8"))

    assert len(list((corpus_folder / "dialogues").glob("*.json"))) == len(corpus.dialogues)
    for dialogue in corpus.dialogues:
        assert all(a.speaker != b.speaker for a, b in zip(dialogue.turns, dialogue.turns[1:], strict=False))  # fmt: skip
    for speaker, lines in corpus.profiles.items():
        assert set(map(str.strip, people[speaker]["persona"])) <= set(lines)
        assert any(line.startswith("BigFive: ") for line in lines)
        assert any("gender: " in line for line in lines)


def test_the_target_of_a_twin_is_reported_by_source_or_name(tmp_path):
    """`source` is "user" in any case, or the profile's name; every other is the partner."""
    path = tmp_path / "train.json"
    entry = {
        "context": [said("USER", "一"), said("小红", "二"), said("小明", "三"), said("x", "四")],
        "continuation": "五",
    }
    path.write_text(json.dumps([item(entry)]), "utf-8")

    corpus = read_corpus(path, "digitaltwin")

    speakers = [turn.speaker for turn in corpus.dialogues[0].turns]
    assert speakers == ["h1", PARTNER, "h1", PARTNER, "h1"]
    assert [sample.target.text for sample in make_samples(corpus.dialogues)] == ["三", "五"]
    assert corpus.profiles["h1"][0] == "name: 小明"
    assert "爱吃火锅" in corpus.profiles["h1"]
    assert corpus.profiles["h1"][-1] == "BigFive / Openness: 4 好奇"


def test_an_item_without_continuation_gives_no_sample_of_its_own(tmp_path):
    """A leaderboard file may hold the answer back."""
    path = tmp_path / "test.json"
    entry = {"context": [said("user", "一"), said("y", "二")], "continuation": None}
    path.write_text(json.dumps([item(entry)]), "utf-8")

    dialogues = read_corpus(path, "digitaltwin").dialogues
    assert list(make_samples(dialogues)) == []
    (question,) = open_questions(dialogues)
    assert [turn.text for turn in question.context] == ["一", "二"]
    assert (question.target.speaker, question.target.text) == ("h1", "")


def test_a_dialogue_of_the_test_file_is_not_trained_on(tmp_path, settings_of):
    """A record in both files is removed from the training split."""
    entries = [{"context": [said("y", f"q{n}")], "continuation": f"a{n}"} for n in range(8)]
    (tmp_path / "train.json").write_text(json.dumps([item(*entries)]), "utf-8")
    (tmp_path / "test.json").write_text(json.dumps([item(entries[0])]), "utf-8")

    material = load_material(settings_of(train_path="train.json", data={"test_path": "test.json"}))

    assert [sample.target.text for sample in make_samples(material.splits.test)] == ["a0"]
    trained = make_samples([*material.splits.train, *material.splits.validation])
    assert sorted(f"a{n}" for n in range(1, 8)) == sorted(s.target.text for s in trained)


@pytest.mark.parametrize("key", ["train_path", "test_path"])
def test_data_that_are_not_there_name_their_key(corpus_folder, settings_of, key):
    """The sentence says which of the two paths is wrong."""
    settings = settings_of(train_path=corpus_folder, data={key: "nowhere"})

    with pytest.raises(UserError, match=rf"data\.{key} .*nowhere does not exist"):
        load_material(settings)


def test_a_test_file_that_takes_everything_is_refused(workspace, settings_of):
    """The same file for training and testing leaves nothing to train on, and it is said so."""
    same = str(workspace / "data" / "digitaltwin" / "train.json")

    with pytest.raises(UserError, match=r"is in data\.test_path too"):
        load_material(settings_of(train_path=same, data={"test_path": same}))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "holds neither train.json"),
        ({"notes.txt": "x"}, "holds neither train.json"),
        ({"train.json": "{"}, "cannot be read as JSON"),
        ({"train.json": "[]"}, "should hold a list of items"),
        ({"train.json": '[{"user_hash": "x"}]'}, "'user' is missing"),
        ({"interlocutors.json": "{}", "dialogues/1.json": "{}"}, "lacks the field"),
        (
            {"interlocutors.json": "{}", "dialogues/1.json": "[1]"},
            "is not a RealPersonaChat dialogue",
        ),
        (
            {"interlocutors.json": "[]", "dialogues/1.json": "{}"},
            "should be an object with one entry per speaker",
        ),
        (
            {
                "interlocutors.json": '{"A": {"personality": {"x": "high"}}}',
                "dialogues/1.json": '{"dialogue_id": 1, "utterances": '
                '[{"interlocutor_id": "A", "text": "x"}]}',
            },
            "the speaker A in",
        ),
        (
            {
                "interlocutors.json": "{}",
                "dialogues/1.json": '{"dialogue_id": 1, "utterances": '
                '[{"interlocutor_id": "A", "text": "x"}]}',
            },
            "lacks the speaker A",
        ),
    ],
)
def test_a_broken_corpus_is_one_sentence(tmp_path, files, sentence):
    """It names the file and what is wrong with it."""
    folder = tmp_path / "data"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")

    with pytest.raises(UserError) as caught:
        read_corpus(folder, "auto")

    assert sentence in caught.value.sentence
    assert "\n" not in caught.value.sentence
