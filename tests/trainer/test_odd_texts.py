"""Values of data files that are no plain text: never learned as words, counted, reported once."""

import json

import pytest

from berth_trainer.data.load import load_material, read_corpus
from berth_trainer.data.samples import make_samples
from berth_trainer.errors import UserError

ODD = {
    "null": (None, ""),
    "number": (7, "7"),
    "true": (True, ""),
    "list": (["a", {"type": "text", "text": "b"}, None, {"image": "x"}], "a\nb"),
    "object": ({"text": "a"}, "a"),
    "nan": (float("nan"), ""),
    "surrogate": ("a\ud800b", "a\ufffdb"),
    "mark": ("\ufeffa", "a"),
    "noncharacter": ("a\ufdd0b", "a\ufffdb"),
    "empty": (" \u200b", ""),
}


def twin(*turns, continuation="ok", **user):
    context = [{"source": who, "content": text} for who, text in turns]
    collections = [{"data": [{"context": context, "continuation": continuation}]}]
    person = {"profile": {"name": "Li"}, "personality": None, **user}
    return {"user_hash": "h", "user": person, "task": {"task_behavior_collections": collections}}


def persona_chat(folder, utterances, person):
    (folder / "dialogues").mkdir(parents=True)
    (folder / "interlocutors.json").write_text(json.dumps({"A": person, "B": {}}), "utf-8")
    told = [{"interlocutor_id": who, "text": text} for who, text in utterances]
    dialogue = {"dialogue_id": 1, "utterances": told}
    (folder / "dialogues" / "1.json").write_text(json.dumps(dialogue), "utf-8")
    return folder


def texts(corpus):
    return [turn.text for turn in corpus.dialogues[0].turns]


@pytest.mark.parametrize(("value", "words"), ODD.values(), ids=ODD)
def test_a_turn_that_is_no_text(tmp_path, value, words):
    """Both formats read the text that is in it, or none, and name the file and the place."""
    file = tmp_path / "train.json"
    file.write_text(json.dumps([twin(("x", "q"), ("user", value), ("x", "r"))]), "utf-8")
    folder = persona_chat(tmp_path / "rpc", [("A", "q"), ("B", value), ("A", "r")], {})

    for corpus, place in (
        (read_corpus(file, "auto"), f"{file}, item 0, collection 0, dialogue 0, turn 1"),
        (read_corpus(folder, "auto"), f"{folder / 'dialogues' / '1.json'}, utterance 1"),
    ):
        assert texts(corpus)[:3] == (["q", words, "r"] if words else ["q\nr", *texts(corpus)[1:]])
        if value != "\ufeffa":
            (note,) = [note for note in corpus.notes if "turn" in note]
            assert note.startswith("1 turn is ")
            assert place in note


def test_a_continuation_that_is_no_text(tmp_path):
    """Null is a withheld answer; anything else is read like a turn."""
    file = tmp_path / "train.json"
    for value, last in ((None, "q"), ("", "q"), (["a", "b"], "a\nb"), (5, "5"), (False, "q")):
        file.write_text(json.dumps([twin(("x", "q"), continuation=value)]), "utf-8")
        corpus = read_corpus(file, "auto")
        assert texts(corpus)[-1] == last
        assert len(corpus.notes) == (0 if value in (None, "") and value is not False else 1)


def test_a_twins_profile(tmp_path):
    """Zero and false are values, null is none; the word None appears nowhere."""
    profile = {"name": None, "children": 0, "smokes": False, "age": None, "likes": ["tea", None],
               "home": {"city": "Rome", "zip": None}, "odd": "a\udfffb"}  # fmt: skip
    dimensions = {"Open": {"score": None, "description": None}, "Calm": {"score": 0}, "Shy": None}
    personality = {
        "unstructured": None,
        "structured": {"Big5": {"dimensions": dimensions}, "X": None},
    }
    file = tmp_path / "train.json"
    item = twin((None, "q"), ("user", "a"), profile=profile, personality=personality)
    file.write_text(json.dumps([item]), "utf-8")

    corpus = read_corpus(file, "auto")

    assert corpus.profiles["h"] == (
        "children: 0", "smokes: false", "likes: tea", "home: city Rome", "odd: a\ufffdb",
        "Big5 / Calm: 0",
    )  # fmt: skip
    assert "None" not in json.dumps([corpus.profiles, texts(corpus)])
    assert [turn.speaker for turn in corpus.dialogues[0].turns] == ["partner", "h"]
    assert any(note.startswith("4 profile values are null") for note in corpus.notes)


@pytest.mark.parametrize("part", ["item", "user", "task", "collection", "dialogue", "turn"])
@pytest.mark.parametrize("value", [None, 7, "x", [1], True])
def test_a_part_that_is_no_object_is_named_as_that(tmp_path, part, value):
    """In words of the data, with the place; never in Python's."""
    item = twin(("x", "q"), ("user", "a"))
    (collection,) = item["task"]["task_behavior_collections"]
    holder, key = {
        "user": (item, "user"), "task": (item, "task"), "turn": (collection["data"][0]["context"], 0),
        "collection": (item["task"]["task_behavior_collections"], 0), "dialogue": (collection["data"], 0),
        "item": ([item], 0),
    }[part]  # fmt: skip
    holder[key] = value
    file = tmp_path / "train.json"
    file.write_text(json.dumps(holder if part == "item" else [item]), "utf-8")

    try:
        corpus = read_corpus(file, "auto")
    except UserError as error:
        sentence = error.sentence
    else:
        sentence = " ".join(corpus.notes)

    assert str(file) in sentence
    assert part in sentence or "is missing" in sentence
    for word in ("object has no", "subscript", "indices"):
        assert word not in sentence


@pytest.mark.parametrize("user", [{"profile": None}, {"profile": {}, "personality": {}}])
def test_a_twin_without_profile(tmp_path, user):
    """It has no lines, and its dialogues are read."""
    file = tmp_path / "train.json"
    file.write_text(json.dumps([twin(("x", "q"), **user)]), "utf-8")

    corpus = read_corpus(file, "auto")

    assert corpus.profiles == {"h": ()}
    assert len(make_samples(corpus.dialogues)) == 1


def test_a_speakers_profile(tmp_path):
    """The same in RealPersonaChat's fields."""
    person = {
        "persona": ["I cook.\nWell.", None, 3, ["x", "y"]],
        "demographic_information": {"age": None, "children": 0, "smokes": False},
        "personality": {"BigFive_Openness": None, "BigFive_Calm": 0, "KiSS_x": float("nan")},
    }
    folder = persona_chat(tmp_path / "rpc", [("A", "q"), ("B", "a")], person)

    corpus = read_corpus(folder, "auto")

    assert corpus.profiles["A"] == (
        "I cook.\nWell.", "3", "x, y", "children: 0、smokes: false", "BigFive: Calm 0.00",
    )  # fmt: skip
    assert "1 persona sentence is null" in " ".join(corpus.notes)


@pytest.mark.parametrize("person", [None, {"persona": None}, {"persona": "One.\nTwo."}])
def test_a_speaker_with_little_profile(tmp_path, person):
    """Null is no profile; a string is its lines, not its letters."""
    folder = persona_chat(tmp_path / "rpc", [("A", "q"), ("B", "a")], person)

    expected = ("One.", "Two.") if person and person["persona"] else ()
    assert read_corpus(folder, "auto").profiles["A"] == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark(tmp_path, encoding):
    """It belongs to the encoding, in both formats and every file."""
    file = tmp_path / "train.json"
    file.write_text(json.dumps([twin(("x", "問"))], ensure_ascii=False), encoding)
    folder = persona_chat(tmp_path / "rpc", [("A", "問"), ("B", "a")], {"persona": ["人"]})
    for one in folder.rglob("*.json"):
        one.write_text(one.read_text("utf-8"), encoding)

    assert texts(read_corpus(file, "auto")) == ["問", "ok"]
    assert texts(read_corpus(folder, "auto")) == ["問", "a"]


def test_bytes_that_are_not_utf8(tmp_path):
    """A few are replaced and named; a file in another encoding is refused in one sentence."""
    file = tmp_path / "train.json"
    good = json.dumps(
        [twin(("x", "Q" * 500), ("user", "caf!"), ("x", "\ufffd"))], ensure_ascii=False
    )
    file.write_bytes(good.encode().replace(b"caf!", b"caf\xe9"))

    corpus = read_corpus(file, "auto")
    assert texts(corpus)[1] == "caf\ufffd"
    assert corpus.notes == (
        f"1 file is not UTF-8, undecodable bytes replaced by \ufffd; the first: {file}, line 1.",
    )

    file.write_bytes(
        json.dumps([twin(("x", "こんにちは世界"))], ensure_ascii=False).encode("euc-jp")
    )
    with pytest.raises(UserError, match="is not in UTF-8"):
        read_corpus(file, "auto")


def test_identifiers_that_are_none(tmp_path):
    """People and dialogues without an identifier are told apart; a turn without speaker is named."""
    file = tmp_path / "train.json"
    items = [twin(("x", "q"), profile={"n": n}) | {"user_hash": None} for n in (1, 2)]
    file.write_text(json.dumps(items), "utf-8")
    assert read_corpus(file, "auto").profiles == {"item 0": ("n: 1",), "item 1": ("n: 2",)}

    folder = persona_chat(tmp_path / "rpc", [("A", "q"), (None, "a")], {})
    with pytest.raises(UserError, match="utterance 1 names no interlocutor_id"):
        read_corpus(folder, "auto")


@pytest.mark.parametrize("cache", ["none", "cache"])
def test_every_start_reports_it_once(tmp_path, settings_of, capsys, cache):
    """From the cache too, where the files are not read again."""
    items = [twin(("x", f"q{n}"), ("user", None), continuation=f"a{n}") for n in range(6)]
    (tmp_path / "train.json").write_text(json.dumps(items), "utf-8")
    settings = settings_of(
        train_path="train.json",
        data={"cache_folder": str(tmp_path / cache) if cache == "cache" else cache},
    )

    for _ in range(2):
        load_material(settings)
        said = capsys.readouterr().err
        assert said.count("6 turns are null, read as empty; the first: ") == 1
