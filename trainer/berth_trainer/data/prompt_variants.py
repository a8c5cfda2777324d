"""Prompt variants: which of profile, history and context a prompt carries."""

from collections.abc import Mapping
from dataclasses import dataclass

from berth_trainer.config.suggestions import did_you_mean
from berth_trainer.errors import UserError


@dataclass(frozen=True, slots=True)
class PromptVariant:
    """A prompt variant; `key` is what is typed, `name` what is shown."""

    key: str
    name: str
    use_profile: bool
    use_history: bool
    use_context: bool

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in prompt order."""
        flags = {
            "profile": self.use_profile,
            "history": self.use_history,
            "context": self.use_context,
        }
        return tuple(part for part, used in flags.items() if used)


def _built_in(key: str) -> PromptVariant:
    return PromptVariant(
        key=key,
        name=key,
        use_profile="profile" in key,
        use_history="history" in key,
        use_context="context" in key,
    )


BUILT_IN: Mapping[str, PromptVariant] = {
    key: _built_in(key)
    for key in (
        "profile_only",
        "history_only",
        "context_only",
        "profile_and_history",
        "profile_and_context",
        "history_and_context",
        "profile_and_history_and_context",
    )
}
DEFAULT = "profile_and_history_and_context"


def choose(key: str, own: Mapping[str, PromptVariant]) -> PromptVariant:
    """Return the variant called `key`; the config file's definition wins over a built-in one."""
    known = {**BUILT_IN, **own}
    found = known.get(key)
    if found is None:
        raise UserError(
            f"--ablation_config {key} is not known{did_you_mean(key, known)}; "
            f"known are {', '.join(known)}."
        )
    if not found.parts:
        raise UserError(
            f"ablation_configs.{key} uses none of profile, history and context: "
            "set at least one of use_profile, use_history, use_context to true."
        )
    return found
