"""Chat format: the tokenizer's chat template, or a plain format where it has none."""

from typing import Any

from berth_trainer.data.prompts import Message


class ChatFormat:
    """Renders a prompt and its completion; joined, they are what the model reads."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._templated = bool(getattr(tokenizer, "chat_template", None))
        self._start: str = tokenizer.bos_token or ""
        self._end: str = tokenizer.eos_token or ""

    def prompt(self, messages: list[Message]) -> str:
        """Render everything up to where the answer begins."""
        if self._templated:
            return self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        turns = "".join(f"{_LABELS[m['role']]}: {m['content']}\n" for m in messages)
        return f"{self._start}{turns}{_LABELS['assistant']}:"

    def completion(self, messages: list[Message], prompt: str, answer: str) -> str:
        """Render the answer with its end-of-turn mark, as the template writes it."""
        if not self._templated:
            return f" {answer}{self._end}"
        whole: str = self._tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": answer}], tokenize=False
        )
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        # Some templates write a past answer otherwise than a coming one (thinking marks).
        return f"{answer}{self._end}"


_LABELS = {"user": "User", "assistant": "Assistant"}
