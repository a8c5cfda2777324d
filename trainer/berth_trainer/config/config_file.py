"""From the config file's text to settings, with sentences where it is wrong."""

import math
from collections.abc import Mapping
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from berth_trainer.config import lenient_json
from berth_trainer.config.settings import (
    DataSettings,
    DeepSpeedSettings,
    DialogueHistorySettings,
    LoraSettings,
    ModelSettings,
    PredictSettings,
    ReportSettings,
    Settings,
    TrainingSettings,
)
from berth_trainer.config.suggestions import did_you_mean, nearest
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.errors import UserError

SECTIONS: Mapping[str, type[Any]] = {
    "model": ModelSettings,
    "data": DataSettings,
    "history": DialogueHistorySettings,
    "training": TrainingSettings,
    "deepspeed": DeepSpeedSettings,
    "lora": LoraSettings,
    "predict": PredictSettings,
    "report": ReportSettings,
}
ABLATION_KEYS = ("use_profile", "use_history", "use_context", "name")
_Section = TypeVar("_Section")


def read_settings(path: Path) -> Settings:
    """Read and check the config file; raises UserError with one sentence where it is wrong."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.json")])
        hint = f" (did you mean {path.parent / near}?)" if near else ""
        raise UserError(f"--config {path} does not exist{hint}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}.") from error
    return settings_from(lenient_json.parse(text, str(path)), source=path.absolute())


def settings_from(document: Any, *, source: Path) -> Settings:
    """Check a parsed config file. Unknown keys are warned of, wrong values are UserErrors."""
    reader = _Reader(source.name)
    tree = reader.object(document, "")
    reader.warn_of_unknown(tree, "", [*SECTIONS, "ablation_configs"])
    settings = Settings(
        source=source,
        model=reader.section(tree, "model", ModelSettings),
        data=reader.section(tree, "data", DataSettings),
        history=reader.section(tree, "history", DialogueHistorySettings),
        training=reader.section(tree, "training", TrainingSettings),
        deepspeed=reader.section(tree, "deepspeed", DeepSpeedSettings),
        lora=reader.section(tree, "lora", LoraSettings),
        predict=reader.section(tree, "predict", PredictSettings),
        report=reader.section(tree, "report", ReportSettings),
        prompt_variants=reader.prompt_variants(tree.get("ablation_configs", {})),
        given=frozenset(reader.given),
    )
    for key, value in (
        ("model.path", settings.model.path),
        ("data.train_path", settings.data.train_path),
    ):
        if not value:
            raise UserError(f"{source.name} lacks {key}; add it.")
    if settings.data.validation_fraction + settings.data.test_fraction > 0.9:
        raise UserError(
            f"{source.name}: data.validation_fraction and data.test_fraction leave too little "
            "to train on; keep their sum at 0.9 or less."
        )
    training, zero = settings.training, settings.deepspeed
    alone = {"deepspeed.stage", "deepspeed.offload_param"} <= settings.given
    if alone and zero.stage < 3 and zero.offload_param == "cpu":
        reader.warnings.append(
            f"deepspeed.offload_param cpu in {source.name} needs stage 3 and does nothing in stage "
            f"{zero.stage}."
        )
    if not training.learning_rate:
        reader.warnings.append(f"training.learning_rate in {source.name} is 0: nothing is learned.")
    settings = replace(settings, warnings=tuple(reader.warnings))
    if training.pack_tokens and training.pack_tokens < training.max_length:
        raise UserError(
            f"{source.name}: training.pack_tokens {training.pack_tokens} is less than "
            f"training.max_length {training.max_length}, so a sample may not fit; make it as large."
        )
    if training.pack_tokens and training.batch_size != 1:
        raise UserError(
            f"{source.name}: training.pack_tokens makes one row of many samples, so "
            "training.batch_size should be 1; raise pack_tokens instead."
        )
    if training.early_stopping_patience:
        _check_early_stopping(settings)
    if settings.lora.quantize != "none" and not settings.lora.r:
        raise UserError(
            f"{source.name}: lora.quantize freezes the weights in 4 bits, so there must be adapters "
            "to train; set lora.r, as to 16."
        )
    return settings


def _check_early_stopping(settings: Settings) -> None:
    """It watches evaluations and goes back to a checkpoint: both must be there."""
    for key, value in (
        ("training.eval_steps", settings.training.eval_steps),
        ("training.save_steps", settings.training.save_steps),
        ("data.validation_fraction", settings.data.validation_fraction),
    ):
        if not value:
            raise UserError(
                f"{settings.source.name}: training.early_stopping_patience stops by the evaluation "
                f"loss and goes back to the best checkpoint, but {key} is 0; set it to more, or "
                "the patience to 0."
            )


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.given: set[str] = set()

    def object(self, value: Any, key: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            where = f"{key} in {self.name}" if key else self.name
            raise UserError(f"{where} should be an object in braces, not {_shown(value)}.")
        return value  # pyright: ignore[reportUnknownVariableType]  # JSON keys are strings

    def section(self, tree: Mapping[str, Any], key: str, kind: type[_Section]) -> _Section:
        given = self.object(tree.get(key, {}), key)
        knobs = {item.name: item for item in fields(kind)}  # pyright: ignore[reportArgumentType]  # every section is a dataclass
        self.warn_of_unknown(given, f"{key}.", list(knobs))
        self.given.update(f"{key}.{name}" for name in given if name in knobs)
        values = {
            name: self.value(value, f"{key}.{name}", knobs[name])
            for name, value in given.items()
            if name in knobs
        }
        return kind(**values)

    def value(self, value: Any, key: str, item: Field[Any]) -> Any:
        wanted: type[Any] = type(item.default)
        checked = _as_type(value, wanted)
        if checked is None:
            raise UserError(
                f"{key} in {self.name} should be {_NAMES[wanted]}, not {_shown(value)}."
            )
        choices, least, most = (item.metadata[limit] for limit in ("choices", "least", "most"))
        if choices and checked not in choices:
            hint = did_you_mean(checked, choices) if isinstance(checked, str) else ""
            allowed = ", ".join(str(choice) for choice in choices)
            raise UserError(f"{key} in {self.name} is {_shown(value)}{hint}; it can be {allowed}.")
        if isinstance(checked, float) and not math.isfinite(checked):
            raise UserError(f"{key} in {self.name} should be a finite number, not {_shown(value)}.")
        if least is not None and checked < least:
            raise UserError(
                f"{key} in {self.name} is {_shown(value)}; it should be {least:g} or more."
            )
        if most is not None and checked > most:
            raise UserError(
                f"{key} in {self.name} is {_shown(value)}; it should be {most:g} or less."
            )
        return checked

    def prompt_variants(self, value: Any) -> dict[str, PromptVariant]:
        found: dict[str, PromptVariant] = {}
        for key, entry in self.object(value, "ablation_configs").items():
            where = f"ablation_configs.{key}"
            if "/" in key or key in {"", ".", ".."}:
                raise UserError(
                    f"{where} in {self.name} cannot be the name of an output folder; give it a "
                    "name without a slash."
                )
            flags = self.object(entry, where)
            self.warn_of_unknown(flags, f"{where}.", ABLATION_KEYS)
            for flag in ABLATION_KEYS[:3]:
                if not isinstance(flags.get(flag, False), bool):
                    raise UserError(
                        f"{where}.{flag} in {self.name} should be true or false, "
                        f"not {_shown(flags[flag])}."
                    )
            found[key] = PromptVariant(
                key=key,
                name=str(flags.get("name", key)),
                use_profile=flags.get("use_profile", False),
                use_history=flags.get("use_history", False),
                use_context=flags.get("use_context", False),
            )
        return found

    def warn_of_unknown(self, given: Mapping[str, Any], prefix: str, known: Any) -> None:
        for key in given:
            if key not in known:
                self.warnings.append(
                    f"{prefix}{key} in {self.name} is not a key of the trainer and is ignored"
                    f"{_hint(key, prefix, known)}."
                )


def _hint(key: str, prefix: str, known: Any) -> str:
    """Look in the section itself first, then among all sections."""
    near = nearest(key, known)
    if near:
        return f" (did you mean {prefix}{near}?)"
    everywhere = {item.name: name for name, kind in SECTIONS.items() for item in fields(kind)}
    near = nearest(key, everywhere)
    return f" (did you mean {everywhere[near]}.{near}?)" if near else ""


_NAMES = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _as_type(value: Any, wanted: type[Any]) -> Any:
    if wanted is bool or isinstance(value, bool):  # true is an int to Python, not to people
        return value if wanted is bool and isinstance(value, bool) else None
    if wanted is float and isinstance(value, int | float):
        return float(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, wanted) else None


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return f"“{value}”" if isinstance(value, str) else str(value)
