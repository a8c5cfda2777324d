"""The config file: what it may say, and the sentences where it is wrong."""

from dataclasses import fields
from pathlib import Path

import pytest

from berth_trainer.config.config_file import SECTIONS, read_settings, settings_from
from berth_trainer.errors import UserError

DOCUMENTED = {
    "model": {"path": "/models/gemma"},
    "data": {"train_path": "train.json", "test_path": "test_leaderboard.json"},
    "training": {
        "num_epochs": 3,
        "batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 2e-5,
        "max_length": 4096,
        "warmup_steps": 100,
        "weight_decay": 0.01,
        "logging_steps": 10,
        "eval_steps": 100,
        "save_steps": 500,
        "save_total_limit": 3,
        "max_grad_norm": 1.0,
        "dataloader_num_workers": 2,
    },
    "ablation_configs": {
        "profile_only": {
            "use_profile": True,
            "use_history": False,
            "use_context": False,
            "name": "Profile only",
        }
    },
}


def changed(**sections):
    return {**DOCUMENTED, **sections}


def read(document):
    return settings_from(document, source=Path("/somewhere/config.json"))


def test_every_key_of_the_users_config_is_taken():
    """The keys their config files carry reach the settings, without a warning."""
    settings = read(DOCUMENTED)

    assert settings.warnings == ()
    for key, value in DOCUMENTED["training"].items():
        assert value == getattr(settings.training, key), key
    assert settings.prompt_variants["profile_only"].name == "Profile only"


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        (changed(trainning={}), "trainning in config.json"),
        (changed(training={"learning_rat": 1}), "(did you mean training.learning_rate?)"),
        (changed(learning_rate=1), "(did you mean training.learning_rate?)"),
        (changed(model={"path": "x", "attn": "sdpa"}), "model.attn in config.json"),
    ],
)
def test_an_unknown_key_is_warned_of_with_the_near_one(document, hint):
    """A typo must not silently train with a default; nor must a foreign key stop a run."""
    warnings = read(document).warnings

    assert len(warnings) == 1
    assert hint in warnings[0]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (changed(training={"learning_rate": 0}), "is 0: nothing is learned"),
        (changed(deepspeed={"stage": 2, "offload_param": "cpu"}), "has no effect in stage 2"),
    ],
)
def test_what_does_nothing_is_warned_of(document, said):
    """A value that is allowed and cannot work as it reads is reported before the run."""
    assert [said in text for text in read(document).warnings] == [True]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (changed(model={}), "lacks model.path"),
        (changed(data={}), "lacks data.train_path"),
        (changed(training={"batch_size": "two"}), "training.batch_size in config.json should be a"),
        (changed(training={"batch_size": True}), "should be a whole number, not true"),
        (changed(training={"batch_size": 0}), "should be 1 or more"),
        (changed(training={"batch_size": 1.5}), "should be a whole number"),
        (changed(training=[]), "should be an object in braces, not a list"),
        (changed(deepspeed={"stage": 4}), "deepspeed.stage in config.json is 4; it can be 1, 2, 3"),
        (changed(history={"strategy": "relevant"}), "(did you mean relevance?)"),
        (changed(ablation_configs={"x": {"use_profile": "yes"}}), "should be true or false"),
        (changed(training={"pack_tokens": 64}), "training.pack_tokens 64 is less than"),
        (changed(training={"pack_tokens": 4096, "batch_size": 2}), "batch_size must be 1"),
        (
            changed(training={"learning_rate": -1}),
            "learning_rate in config.json is -1; it should be 0 or more",
        ),
        (changed(training={"learning_rate": float("nan")}), "should be a finite number, not nan"),
        (changed(ablation_configs={"../x": {"use_profile": True}}), "without a slash"),
        (changed(training={"early_stopping_patience": 2, "eval_steps": 0}), "eval_steps is 0"),
        (changed(training={"early_stopping_patience": 2, "save_steps": 0}), "save_steps is 0"),
        (
            changed(
                training={"early_stopping_patience": 2},
                data={"train_path": "d", "validation_fraction": 0},
            ),
            "data.validation_fraction is 0",
        ),
        ([], "config.json should be an object in braces"),
    ],
)
def test_a_wrong_value_is_one_sentence(document, sentence):
    """It names the key, the file and what would be right."""
    with pytest.raises(UserError) as caught:
        read(document)

    assert sentence in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_a_missing_file_names_the_near_one(tmp_path):
    """The commonest mistake is a path."""
    (tmp_path / "config_realpersonachat.json").write_text("{}")

    with pytest.raises(UserError, match=r"did you mean .*config_realpersonachat\.json"):
        read_settings(tmp_path / "config_realpersonchat.json")


def test_relative_paths_start_at_the_config_file(tmp_path):
    """A config file can be used from any folder."""
    (tmp_path / "data").mkdir()
    settings = settings_from(
        {"model": {"path": "m"}, "data": {"train_path": "data"}}, source=tmp_path / "config.json"
    )

    assert tmp_path / "data" == settings.locate("data")
    assert Path("elsewhere") == settings.locate("elsewhere")


def test_every_setting_is_documented():
    """docs/trainer.md names each key of each section."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "trainer.md").read_text("utf-8")

    missing = [
        f"{section}.{item.name}"
        for section, kind in SECTIONS.items()
        for item in fields(kind)
        if f"`{section}.{item.name}`" not in page
    ]
    assert missing == []
