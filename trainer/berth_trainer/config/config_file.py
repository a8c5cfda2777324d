"""Config file reader: JSON to settings, with one sentence for each mistake."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

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
VARIANT_KEYS = ("use_profile", "use_history", "use_context", "name")


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
    """Check a parsed config file. Unknown keys are warnings, wrong values raise UserError."""
    reader = _Reader(source.name)
    tree = reader.object(document, "")
    reader.warn_of_unknown(tree, "", [*SECTIONS, "ablation_configs"])
    settings = Settings(
        source=source,
        **{key: reader.section(tree, key, kind) for key, kind in SECTIONS.items()},
        prompt_variants=reader.prompt_variants(tree.get("ablation_configs", {})),
        given=frozenset(reader.given),
    )
    _check_required(settings)
    _check_packing(settings)
    if settings.training.early_stopping_patience:
        _check_early_stopping(settings)
    if settings.lora.quantize != "none" and not settings.lora.r:
        raise UserError(
            f"{source.name}: lora.quantize freezes the weights in 4 bits, so there must be adapters "
            "to train; set lora.r, for example to 16."
        )
    return replace(settings, warnings=(*reader.warnings, *_without_effect(settings)))


def _check_required(settings: Settings) -> None:
    name, data = settings.source.name, settings.data
    for key, value in (("model.path", settings.model.path), ("data.train_path", data.train_path)):
        if not value:
            raise UserError(f"{name} lacks {key}; add it.")
    if data.validation_fraction + data.test_fraction > 0.9:
        raise UserError(
            f"{name}: data.validation_fraction and data.test_fraction leave too little "
            "to train on; keep their sum at 0.9 or less."
        )


def _check_packing(settings: Settings) -> None:
    name, training = settings.source.name, settings.training
    if training.pack_tokens and training.pack_tokens < training.max_length:
        raise UserError(
            f"{name}: training.pack_tokens {training.pack_tokens} is less than "
            f"training.max_length {training.max_length}, so a sample may not fit; set it to at "
            "least as many."
        )
    if training.pack_tokens and training.batch_size != 1:
        raise UserError(
            f"{name}: training.pack_tokens makes one row of many samples, so "
            "training.batch_size must be 1; raise pack_tokens instead."
        )


def _without_effect(settings: Settings) -> Iterator[str]:
    """Yield a warning for each value that is valid and has no effect."""
    name, zero = settings.source.name, settings.deepspeed
    explicit = {"deepspeed.stage", "deepspeed.offload_param"} <= settings.given
    if explicit and zero.stage < 3 and zero.offload_param == "cpu":
        yield (
            f"deepspeed.offload_param cpu in {name} needs stage 3 and has no effect in stage "
            f"{zero.stage}."
        )
    if not settings.training.learning_rate:
        yield f"training.learning_rate in {name} is 0: nothing is learned."


def _check_early_stopping(settings: Settings) -> None:
    """Raise UserError where early stopping lacks evaluations or checkpoints."""
    for key, value in (
        ("training.eval_steps", settings.training.eval_steps),
        ("training.save_steps", settings.training.save_steps),
        ("data.validation_fraction", settings.data.validation_fraction),
    ):
        if not value:
            raise UserError(
                f"{settings.source.name}: training.early_stopping_patience stops by the evaluation "
                f"loss and goes back to the best checkpoint, but {key} is 0; raise it, or set "
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

    def section(self, tree: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
        given = self.object(tree.get(key, {}), key)
        known = {item.name for item in fields(kind)}
        self.warn_of_unknown(given, f"{key}.", known)
        values = {name: value for name, value in given.items() if name in known}
        self.given.update(f"{key}.{name}" for name in values)
        try:
            return kind(**values)
        except ValidationError as error:
            raise UserError(_sentence(error.errors()[0], key, self.name)) from None

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
            self.warn_of_unknown(flags, f"{where}.", VARIANT_KEYS)
            for flag in VARIANT_KEYS[:3]:
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


_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}


def _sentence(error: ErrorDetails, section: str, file: str) -> str:
    """Return what pydantic found wrong with a value as one sentence."""
    value, limits = error["input"], error.get("ctx", {})
    key, shown = f"{section}.{error['loc'][0]} in {file}", _shown(value)
    if error["type"] == "literal_error":
        choices = str(limits["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        return f"{key} is {shown}{hint}; it can be {', '.join(choices)}."
    for limit, words in (("ge", "or more"), ("le", "or less")):
        if limit in limits:
            return f"{key} is {shown}; it should be {limits[limit]:g} {words}."
    return f"{key} should be {_WANTED.get(error['type'], 'different')}, not {shown}."


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
