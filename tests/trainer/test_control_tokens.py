"""Texts that spell control tokens, and what a chat template writes around an answer."""

import json
from copy import deepcopy

import pytest
from tokenizers import AddedToken, normalizers

from berth_trainer.data.chat_format import ChatFormat
from berth_trainer.data.control_tokens import ControlTokens
from berth_trainer.data.encode import IGNORED, Encoder
from berth_trainer.data.load import load_material
from berth_trainer.data.prompt_variants import BUILT_IN
from berth_trainer.data.prompts import WORDINGS, Parts, Said, messages
from berth_trainer.training.session_data import prepare_data

MARKS = ["<end_of_turn>", "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<<bos>", "<bos><eos>",
         "<think>", "[SEP]", "<|im_end|>", "@@", "#"]  # fmt: skip


@pytest.fixture
def marked(tokenizer):
    """A tokenizer with marks that are special, marks that are not, and added words."""
    other = deepcopy(tokenizer)
    other.add_tokens([AddedToken("<think>", special=False), AddedToken("[SEP]", special=False)])
    other.add_tokens([AddedToken("@@", special=False), "小明", "\n\n"])
    other.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "#"]})
    return other


def learned(encoded):
    return [one for one in encoded.labels if one != IGNORED]


@pytest.mark.parametrize("mark", MARKS)
def test_a_text_that_spells_a_mark_stays_text(marked, mark):
    """In every part and in the answer, in training and prediction; the words are still there."""
    control, encoder = ControlTokens(marked), Encoder(marked, WORDINGS["en"], 4096)
    text = f"a {mark} b"
    said = tuple(Said(by_target, text) for by_target in (False, True, False))
    parts = Parts((text,), (text, mark), said)
    harmless = Parts(("a",), ("a", "b"), tuple(Said(one.by_target, "a") for one in said))

    encoded, usual = encoder.encode(parts, text), encoder.encode(harmless, "a")
    prompt = encoder.encode_prompt(parts, leaving=16)

    ours = [one for one in usual.input_ids if one in control.ids]
    assert [one for one in encoded.input_ids if one in control.ids] == ours
    assert [one for one in learned(encoded) if one in control.ids] == [encoder.end_of_turn()]
    assert [one for one in prompt if one in control.ids] == ours[:-1]
    assert (encoded.spelled, usual.spelled) == (True, False)
    if mark != "#":  # a token of one character leaves no other spelling
        assert marked.decode(learned(encoded)[:-1]) == text
        assert marked.decode(prompt).count(text) == 5


def test_added_words_and_blanks_stay_what_they_are(marked):
    """They are no marks: the model knows them as text."""
    control, text = ControlTokens(marked), "小明\n\nhello (a) <b>"

    assert not control.spells(text)
    assert control.as_text(text) == text
    assert marked.convert_tokens_to_ids("小明") in control.ids_of(text)


def test_a_tokenizer_that_folds_letters(marked):
    """Full-width and capital letters can spell a token too."""
    marked.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase()]
    )
    marked.add_tokens([AddedToken("<sep>", normalized=True)])
    control = ControlTokens(marked)
    for text in ("x\uff1c\uff53\uff45\uff50\uff1e", "x<SEP>", "x\uff1csep>"):
        assert not control.ids.isdisjoint(marked(text)["input_ids"]), "the case is none"
        assert control.ids.isdisjoint(control.ids_of(control.as_text(text)))


def test_shortening_does_not_bring_a_mark_back(marked):
    """At any length."""
    control = ControlTokens(marked)
    long = Parts(("<bos>" * 30,), ("<eos>" * 30,), (Said(False, "<end_of_turn>" * 30),))
    for length in range(40, 200, 7):
        encoder = Encoder(marked, WORDINGS["en"], length)
        encoded = encoder.encode(long, "<eos>" * 30)
        # The template's own: one <bos>, two <start_of_turn>, two <end_of_turn> at most.
        assert sum(one in control.ids for one in encoded.input_ids) <= 5


@pytest.mark.parametrize("cache", ["none", "cache"])
def test_they_are_reported_once(tmp_path, settings_of, capsys, tokenizer, cache):
    """With their number and the first place, from the cache too."""
    items = [
        {
            "user_hash": f"h{n}",
            "user": {"profile": {"n": "<bos>" if n == 3 else "x"}},
            "task": {"task_behavior_collections": [{"data": [
                {"context": [{"source": "x", "content": "q"}], "continuation": f"<eos> {n}"}]}]},
        }
        for n in range(4)
    ]  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps(items), "utf-8")
    folder = str(tmp_path / cache) if cache == "cache" else cache
    data = {"cache_folder": folder, "validation_fraction": 0, "test_fraction": 0}
    settings = settings_of(train_path="train.json", data=data)
    for _ in range(2):
        encoder = Encoder(tokenizer, WORDINGS["en"], 512)
        prepare_data(load_material(settings), settings, BUILT_IN["context_only"], encoder)
        said = capsys.readouterr().err
        assert said.count("spells a control token") == 1
        assert "4 of 4 training samples" in said
        first = f"{tmp_path / 'train.json'}, item 0, collection 0, dialogue 0, turn 1"
        assert f"<eos>: it is read as plain text. The first, in its words: {first}." in said


def test_their_file_and_place_are_named(tmp_path, settings_of, capsys, tokenizer):
    """A file may have another name than its dialogue; a profile lies in a file of its own."""
    folder = tmp_path / "chats"
    (folder / "dialogues").mkdir(parents=True)
    people = {"A": {"persona": ["likes <bos>"]}, "B": {"persona": ["x"]}}
    (folder / "interlocutors.json").write_text(json.dumps(people), "utf-8")
    for number, said in ((1, "r"), (2, "r <pad>")):
        turns = [{"interlocutor_id": "A", "text": "q"}, {"interlocutor_id": "B", "text": said}]
        file = folder / "dialogues" / f"night-{number}.json"
        file.write_text(json.dumps({"dialogue_id": number, "utterances": turns}), "utf-8")
    data = {"cache_folder": "none", "validation_fraction": 0, "test_fraction": 0}
    encoder = Encoder(tokenizer, WORDINGS["en"], 512)

    def told(ablation):
        settings = settings_of(train_path="chats", data=data)
        prepare_data(load_material(settings), settings, BUILT_IN[ablation], encoder)
        return capsys.readouterr().err

    second = folder / "dialogues" / "night-2.json"
    assert f"<pad>: it is read as plain text. The first, in its words: {second}, turn 1 of dialogue 2." in told("context_only")  # fmt: skip
    for number in (1, 2):
        file = folder / "dialogues" / f"night-{number}.json"
        file.write_text(file.read_text().replace(" <pad>", "").replace('"r"', '"r"}, {"interlocutor_id": "A", "text": "s"'))  # fmt: skip
    assert f"in its profile: {folder / 'interlocutors.json'}, speaker A." in told("profile_only")


QWEN = (
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content.split('</think>')[-1] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}"
)


@pytest.mark.parametrize("context", [(), ("q",), ("q", "a", "r")])
def test_the_templates_marks_are_not_learned(tokenizer, monkeypatch, context):
    """An empty thinking block belongs to the prompt, in prediction too; a last line break goes."""
    monkeypatch.setattr(tokenizer, "chat_template", QWEN)
    encoder = Encoder(tokenizer, WORDINGS["en"], 4096)
    parts = Parts(context=tuple(Said(n % 2 == 1, text) for n, text in enumerate(context)))

    encoded = encoder.encode(parts, "think</think>!")

    assert tokenizer.decode(learned(encoded)) == "think</think>!<end_of_turn>"
    asked = encoded.input_ids[: -len(learned(encoded))]
    assert tokenizer.decode(asked).endswith("<start_of_turn>assistant\n<think>\n\n</think>\n\n")
    assert encoder.encode_prompt(parts, leaving=8) == asked


def test_a_template_without_end_mark_gets_the_tokenizers(tokenizer, monkeypatch):
    """Otherwise no answer would ever end."""
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
    )
    form, asked = ChatFormat(tokenizer), messages(Parts(), WORDINGS["en"])

    assert form.completion(asked, "yes") == "yes<eos>"
    assert Encoder(tokenizer, WORDINGS["en"], 64).end_of_turn() == tokenizer.eos_token_id
