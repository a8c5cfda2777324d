"""Chat format: the tokenizer's chat template, or a plain format where it has none."""

from typing import Any

from berth_trainer.data.control_tokens import ControlTokens
from berth_trainer.data.prompts import Message

_PROBE = "berthprobe"  # an answer that no template writes itself


class ChatFormat:
    """
    Renders a prompt and its completion; joined, they are what the model reads.

    What the template writes before an answer (an empty thinking block, for example) belongs to
    the prompt, in training and when the model is asked. Of what it writes after an answer only
    the first control token belongs to the completion: the mark that ends the turn. `closing` is
    the line break behind it, where there is one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._templated = bool(getattr(tokenizer, "chat_template", None))
        self._start: str = tokenizer.bos_token or ""
        self._eos: str = tokenizer.eos_token or ""
        self._control = ControlTokens(tokenizer)
        self._around: dict[bool, tuple[str, str, str]] = {}

    def prompt(self, messages: list[Message]) -> str:
        """Render everything up to where the answer begins."""
        if self._templated:
            return self._asked(messages) + self._frame(messages)[0]
        turns = "".join(f"{_LABELS[m['role']]}: {m['content']}\n" for m in messages)
        return f"{self._start}{turns}{_LABELS['assistant']}:"

    def completion(self, messages: list[Message], answer: str) -> str:
        """Render the answer and the mark that ends it."""
        if not self._templated:
            return f" {answer}{self._eos}"
        return f"{answer}{self._frame(messages)[1]}"

    def end(self, messages: list[Message]) -> str:
        """Return the mark that ends an answer."""
        return self._frame(messages)[1] if self._templated else self._eos

    def closing(self, messages: list[Message]) -> str:
        """Return the white space that the template writes after the mark that ends an answer."""
        return self._frame(messages)[2] if self._templated else ""

    def _asked(self, messages: list[Message]) -> str:
        return self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )

    def _frame(self, messages: list[Message]) -> tuple[str, str, str]:
        """Return what the template writes before an answer, the mark that ends it, and its break."""
        several = len(messages) > 1
        if several not in self._around:
            turns = [(m["role"], "-") for m in messages[-3:]]
            asked = [{"role": role, "content": words} for role, words in turns]
            self._around[several] = self._framed(asked)
        return self._around[several]

    def _framed(self, asked: list[Message]) -> tuple[str, str, str]:
        whole: str = self._tokenizer.apply_chat_template(
            [*asked, {"role": "assistant", "content": _PROBE}], tokenize=False
        )
        prompt = self._asked(asked)
        before, found, after = whole.removeprefix(prompt).partition(_PROBE)
        # Some templates write a past answer otherwise than a coming one (thinking marks).
        if not whole.startswith(prompt) or not found:
            return "", self._eos, ""
        end = self._control.first_in(after)
        if end is None:
            return before, self._eos or after.rstrip("\n"), ""
        mark, rest = after[:end], after[end:]
        return before, mark, rest[: len(rest) - len(rest.lstrip())]


_LABELS = {"user": "User", "assistant": "Assistant"}
