"""Prompts: chat messages of a sample that carry exactly the variant's parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from berth_trainer.data.dialogue_history import HistoryPool
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.data.samples import Sample

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Wording:
    """Fixed words around the parts, in the language of the corpus."""

    instruction: str
    profile: str
    history: str
    context: str
    opening: str
    bullet: str = "- "


WORDINGS = {
    "ja": Wording(
        instruction="あなたは次の人物です。その人らしい口調と内容で、次の発言をしてください。",
        profile="【プロフィール】",
        history="【ほかの会話での発言】",
        context="【会話】",
        opening="【次の発言】",
    ),
    "zh": Wording(
        instruction="你就是下面这个人。请用这个人的语气和想法说出下一句话。",
        profile="【个人资料】",
        history="【在其他对话中说过的话】",
        context="【对话】",
        opening="【下一句话】",
    ),
    "en": Wording(
        instruction="You are the following person. Say what this person would say next.",
        profile="[Profile]",
        history="[Said in other conversations]",
        context="[Conversation]",
        opening="[Next utterance]",
    ),
}


@dataclass(frozen=True, slots=True)
class Said:
    """A turn as the model sees it: by the person that it plays, or by the partner."""

    by_target: bool
    text: str


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a prompt; a part that the variant does not name is empty."""

    profile: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    context: tuple[Said, ...] = ()

    def changed(self, part: str, value: Sequence[str] | Sequence[Said]) -> "Parts":
        return replace(self, **{part: tuple(value)})


def parts_of(
    sample: Sample, variant: PromptVariant, *, profile: tuple[str, ...], pool: HistoryPool
) -> Parts:  # fmt: skip
    """Return the parts that the variant names, complete."""
    speaker = sample.target.speaker
    return Parts(
        profile=profile if variant.use_profile else (),
        history=tuple(remark.text for remark in pool.choose(sample.dialogue, sample.index))
        if variant.use_history
        else (),
        context=tuple(Said(turn.speaker == speaker, turn.text) for turn in sample.context)
        if variant.use_context
        else (),
    )


def messages(parts: Parts, wording: Wording) -> list[Message]:
    """
    Return chat messages that alternate user and assistant, from user to user.

    Profile and history stand in the first user message (many templates know no system role),
    the context as turns of its own: the target's as assistant, the partner's as user. An
    empty part leaves no heading behind.
    """
    blocks = [wording.instruction]
    for heading, lines in ((wording.profile, parts.profile), (wording.history, parts.history)):
        if lines:
            blocks.append("\n".join([heading, *(f"{wording.bullet}{line}" for line in lines)]))
    blocks.append(wording.context if parts.context else wording.opening)
    found: list[Message] = [{"role": "user", "content": "\n\n".join(blocks)}]
    for said in parts.context:
        role = "assistant" if said.by_target else "user"
        if found[-1]["role"] == role:
            found[-1] = {"role": role, "content": f"{found[-1]['content']}\n{said.text}"}
        else:
            found.append({"role": role, "content": said.text})
    return found
