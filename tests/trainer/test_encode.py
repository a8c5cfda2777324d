"""Token ids, labels, and what goes when a sample is too long."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth_trainer.data.chat_format import ChatFormat
from berth_trainer.data.collate import Collate
from berth_trainer.data.encode import IGNORED, Encoder
from berth_trainer.data.load import load_material
from berth_trainer.data.prompt_variants import BUILT_IN
from berth_trainer.data.prompts import WORDINGS, Parts, Said, messages
from berth_trainer.training.session_data import prepare_data

FULL = Parts(
    profile=tuple(f"プロフィールの行 {n}" for n in range(12)),
    history=tuple(f"ほかの会話で言ったこと {n}" for n in range(15)),
    context=tuple(Said(n % 2 == 1, f"会話の発言 {n}") for n in range(21)),
)
TARGET = "それはとても楽しいですね。"


def targets(encoded):
    return [i for i, label in zip(encoded.input_ids, encoded.labels, strict=True) if label >= 0]


def test_only_the_target_turn_is_learned(tokenizer):
    """Labels begin where the answer begins and hold the mark that ends the turn."""
    encoded = Encoder(tokenizer, WORDINGS["ja"], 4096).encode(FULL, TARGET)

    assert len(encoded.input_ids) == len(encoded.labels)
    assert f"{TARGET}<end_of_turn>" == tokenizer.decode(targets(encoded))
    first = encoded.labels.index(next(label for label in encoded.labels if label >= 0))
    assert tokenizer.decode(encoded.input_ids[:first]).endswith("<start_of_turn>model\n")
    assert all(label == IGNORED for label in encoded.labels[:first])


def test_training_also_learns_the_line_break_behind_the_end_mark(tokenizer):
    """Of what is evaluated it is no part: it is always right, and would flatter the loss."""
    judged = Encoder(tokenizer, WORDINGS["ja"], 4096)
    taught = judged.for_training()

    ids = targets(taught.encode(FULL, TARGET))
    assert f"{TARGET}<end_of_turn>\n" == tokenizer.decode(ids)
    assert ids[:-1] == targets(judged.encode(FULL, TARGET))
    long = "とても長い話です。" * 200
    cut = Encoder(tokenizer, WORDINGS["ja"], 200).for_training().encode(FULL, long)
    assert len(targets(cut)) == 100
    assert not tokenizer.decode(targets(cut)).endswith("\n")


@pytest.mark.parametrize(
    ("behind", "closing"),
    [
        ("<end_of_turn>", ""),
        ("<end_of_turn>\n\n", "\n\n"),
        ("<end_of_turn>\n<eos>", "\n"),
        ("\n", ""),
    ],
)
def test_only_white_space_behind_the_end_mark_is_learned(tokenizer, monkeypatch, behind, closing):
    """A further mark would have the model go on after its turn; without a mark there is no behind."""
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}" + behind + "{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}",
    )
    assert ChatFormat(tokenizer).closing(messages(Parts(), WORDINGS["en"])) == closing


def test_the_template_starts_the_text_once(tokenizer):
    """<bos> stands inside the template; adding it again shifts what the model knows."""
    encoded = Encoder(tokenizer, WORDINGS["ja"], 4096).encode(FULL, TARGET)

    assert encoded.input_ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.bos_token_id == encoded.input_ids[0]


@pytest.mark.parametrize("length", [700, 500, 350, 250, 160, 120])
def test_truncation_keeps_target_latest_context_and_every_part(tokenizer, length):
    """The oldest history, the oldest context and the last profile lines are removed."""
    encoded = Encoder(tokenizer, WORDINGS["ja"], length).encode(FULL, TARGET)
    text = tokenizer.decode(encoded.input_ids)

    assert len(encoded.input_ids) <= length
    assert f"{TARGET}<end_of_turn>" == tokenizer.decode(targets(encoded))
    kept = encoded.parts
    assert kept.profile
    assert kept.history
    assert kept.context
    for heading in (WORDINGS["ja"].profile, WORDINGS["ja"].history, WORDINGS["ja"].context):
        assert heading in text
    assert kept.context[-1].text == FULL.context[-1].text[-len(kept.context[-1].text) :]
    if len(kept.context) > 1:
        assert kept.context == FULL.context[-len(kept.context) :]
    if len(kept.history) > 1:
        assert kept.history == FULL.history[-len(kept.history) :]
    if len(kept.profile) > 1:
        assert kept.profile == FULL.profile[: len(kept.profile)]


def test_a_target_longer_than_half_loses_its_end(tokenizer):
    """Otherwise nothing of the prompt would be left."""
    encoded = Encoder(tokenizer, WORDINGS["ja"], 200).encode(FULL, "とても長い話です。" * 200)

    assert len(targets(encoded)) == 100
    assert len(encoded.input_ids) <= 200


@pytest.mark.parametrize("cut", [0, 3])
def test_answers_that_lose_their_end_are_counted(tmp_path, settings_of, tokenizer, capsys, cut):
    """Of those the model never learns to end its turn; one that just fits is none of them."""
    room = (
        Encoder(tokenizer, WORDINGS["en"], 128).longest_answer - 2
    )  # the mark, and the line break, which may go
    words = ["x" * (room + (2 if n < cut else 1)) for n in range(5)]
    tasks = [{"data": [{"context": [{"source": "x", "content": "q"}], "continuation": one}]} for one in words]  # fmt: skip
    item = {"user_hash": "h", "user": {"profile": {}}, "task": {"task_behavior_collections": tasks}}
    (tmp_path / "train.json").write_text(json.dumps([item]), "utf-8")
    data = {"cache_folder": str(tmp_path), "validation_fraction": 0, "test_fraction": 0}
    settings = settings_of(train_path="train.json", data=data)

    prepare_data(load_material(settings), settings, BUILT_IN["context_only"],
                 Encoder(tokenizer, WORDINGS["en"], 128))  # fmt: skip

    said = capsys.readouterr().err
    assert ("of 5 training samples have an answer of more than half" in said) == bool(cut)
    assert f"warning: {cut} of 5" in said or not cut


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=0, max_size=60)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    profile=st.lists(texts, max_size=4),
    history=st.lists(texts, max_size=4),
    context=st.lists(texts, max_size=6),
    target=texts,
    length=st.integers(32, 300),
)
def test_any_text_fits(tokenizer, profile, history, context, target, length):
    """Whatever people write: within the length, and always something to learn."""
    parts = Parts(
        tuple(profile),
        tuple(history),
        tuple(Said((len(context) - n) % 2 == 0, text) for n, text in enumerate(context)),
    )
    encoded = Encoder(tokenizer, WORDINGS["en"], length).encode(parts, target)

    assert len(encoded.input_ids) <= length
    assert targets(encoded)


def test_a_tokenizer_without_template_gets_a_plain_format(tokenizer, monkeypatch):
    """Base models have none."""
    monkeypatch.setattr(tokenizer, "chat_template", None)
    encoded = Encoder(tokenizer, WORDINGS["en"], 4096).encode(
        Parts(context=(Said(by_target=False, text="hello"),)), "hi there"
    )

    text = tokenizer.decode(encoded.input_ids)
    assert text.startswith("<bos>User: You are the following person.")
    assert text.endswith("hello\nAssistant: hi there<eos>")
    assert tokenizer.decode(targets(encoded)) == " hi there<eos>"


def test_a_template_that_rewrites_past_answers_still_ends_the_turn(tokenizer, monkeypatch):
    """Some write a past answer otherwise than a coming one: then the end mark is added."""
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] <think>{% endif %}",
    )
    form = ChatFormat(tokenizer)
    asked = messages(Parts(), WORDINGS["en"])

    assert form.completion(asked, "yes") == "yes<eos>"


def test_a_prompt_leaves_room_for_its_answer(tokenizer):
    """And ends where the answer begins; what ends an answer is known."""
    encoder = Encoder(tokenizer, WORDINGS["ja"], 300)

    prompt = encoder.encode_prompt(FULL, leaving=100)

    assert len(prompt) <= 200
    assert tokenizer.decode(prompt).endswith("<start_of_turn>model\n")
    assert tokenizer.convert_ids_to_tokens(encoder.end_of_turn()) == "<end_of_turn>"
    assert len(encoder.encode_prompt(FULL, leaving=1000)) <= 150


def test_batches_are_padded_and_masked():
    """Padding is masked, counts for no loss, and makes lengths divide by eight."""
    items = [
        {"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]},
        {"input_ids": [8] * 10, "labels": [8] * 10},
    ]

    batch = Collate(pad_id=0, max_length=64)(items)

    assert batch["input_ids"].shape == (2, 16)
    assert batch["attention_mask"].sum(1).tolist() == [3, 10]
    assert torch.equal(batch["labels"][0, 3:], torch.full((13,), IGNORED))
    assert Collate(pad_id=0, max_length=12)(items)["input_ids"].shape == (2, 12)
