"""A prompt carries exactly the parts that its ablation names."""

import pytest

from berth_trainer.data.chat_format import ChatFormat
from berth_trainer.data.encode import Encoder
from berth_trainer.data.load import load_material, make_dataset
from berth_trainer.data.prompt_variants import BUILT_IN
from berth_trainer.data.prompts import WORDINGS, Parts, Said, messages


@pytest.fixture(scope="module")
def material_and_settings(corpus_folder, tmp_path_factory):
    from berth_trainer.config.config_file import settings_from

    document = {"model": {"path": "m"}, "data": {"train_path": str(corpus_folder)}}
    settings = settings_from(document, source=tmp_path_factory.mktemp("c") / "c.json")
    return load_material(settings), settings


def dataset_of(material_and_settings, variant, tokenizer, limit=80, length=100_000):
    material, settings = material_and_settings
    wording = WORDINGS[material.language]
    return make_dataset(
        material,
        material.splits.train,
        settings=settings,
        variant=BUILT_IN[variant],
        encoder=Encoder(tokenizer, wording, length),
        limit=limit,
    )


@pytest.mark.parametrize("key", BUILT_IN)
def test_exactly_the_named_parts(key, material_and_settings, tokenizer):
    """In the text that the model reads: heading and content of named parts, nothing of others."""
    variant, wording = BUILT_IN[key], WORDINGS["ja"]
    whole = dataset_of(material_and_settings, "profile_and_history_and_context", tokenizer)
    dataset = dataset_of(material_and_settings, key, tokenizer)
    form = ChatFormat(tokenizer)
    for index in range(len(dataset)):
        everything = whole.parts(index)
        text = form.prompt(messages(dataset.parts(index), wording))
        for used, heading, lines in (
            (variant.use_profile, wording.profile, everything.profile),
            (variant.use_history, wording.history, everything.history),
            (variant.use_context, wording.context, [s.text for s in everything.context]),
        ):
            assert (heading in text) == (used and bool(lines))
            if used:
                assert all(line.strip() in text for line in lines)
        telling = [line for line in everything.profile if len(line) > 8]
        assert variant.use_profile or not any(line in text for line in telling)


@pytest.mark.parametrize("key", BUILT_IN)
def test_the_ablations_share_their_samples(key, material_and_settings, tokenizer):
    """Same targets in the same order: only the prompt differs between the seven."""
    first = dataset_of(material_and_settings, "profile_only", tokenizer)
    second = dataset_of(material_and_settings, key, tokenizer)

    assert [(s.dialogue.id, s.index) for s in first.samples] == [
        (s.dialogue.id, s.index) for s in second.samples
    ]
    assert [label for label in first[3]["labels"] if label >= 0] == [
        label for label in second[3]["labels"] if label >= 0
    ]


def test_an_empty_part_leaves_no_heading():
    """Sending a heading with nothing under it would teach the model nothing but the heading."""
    reported = messages(Parts(context=(Said(by_target=False, text="hi"),)), WORDINGS["en"])

    assert len(reported) == 1
    assert "[Profile]" not in reported[0]["content"]
    assert reported[0]["content"].endswith("[Conversation]\nhi")


def test_roles_alternate_with_either_first_speaker():
    """Gemma's template refuses anything else, and the last word before the answer is the user's."""
    context = (Said(True, "a"), Said(False, "b"), Said(True, "c"), Said(False, "d"))
    reported = messages(Parts(profile=("p",), context=context), WORDINGS["en"])

    assert [m["role"] for m in reported] == ["user", "assistant", "user", "assistant", "user"]
    assert [m["content"] for m in reported[1:]] == ["a", "b", "c", "d"]
    assert "- p" in reported[0]["content"]
