"""Model shape: the counts and widths in `config.json` on which memory depends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NORMS_PER_LAYER = {"gemma2": 4, "gemma3_text": 4}
_NORMS_OF_HEADS = {"gemma3_text", "qwen3"}
_BIAS_OF_QKV = {"qwen2"}
_KNOWN = {"gemma", "gemma2", "gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3"}


class ShapeError(ValueError):
    """Configuration that cannot be read; the message is one sentence that names the fix."""


@dataclass(frozen=True)
class ModelShape:
    """Shape of a decoder-only model's text part. Counts are of scalars, widths of elements."""

    kind: str
    parameters: int
    """All of them, a tied embedding once."""
    embedding: int
    """Of the token embedding: the largest single gather under ZeRO-3."""
    layers: int
    hidden: int
    attention: int
    """Width of the queries plus keys plus values of one token."""
    queries: int
    """Width of the queries alone, which is that of the attention's output too."""
    intermediate: int
    vocabulary: int
    tied: bool
    """True if the head is the embedding."""

    def activation_bytes(self, *, fused: bool = False) -> float:
        """
        Return bytes per token that one layer keeps for its backward pass (bf16, sdpa or flash).

        Stock layers: the weights of the three widths reproduce what saved-tensor hooks counted
        at the real widths of Gemma-3 1b, 4b and 27b, 98, 83 and 82 bytes times the hidden width.
        `fused`: with the layers of `berth_trainer.model.fused_layers`, whose list of kept tensors is
        short enough to write down.
        """
        if not fused:
            return 25.05 * self.hidden + 13.1 * self.attention + 9.25 * self.intermediate
        # Two norms a layer keep their input, and the projections after them the output; norms
        # behind the blocks keep two more. Queries and keys before their own norms; flash
        # attention keeps its three inputs and its output. Gate, up and their product.
        norms = 12 if self.norms_behind else 8
        heads = 2 * self.keys_and_queries if self.head_norms else 0
        return (
            norms * self.hidden
            + heads
            + 2 * (self.attention + self.queries)
            + 6 * self.intermediate
        )

    @property
    def keys_and_queries(self) -> int:
        return self.queries + (self.attention - self.queries) // 2

    @property
    def norms_behind(self) -> bool:
        """True if attention and feed-forward block are each followed by a norm."""
        return self.kind in _NORMS_PER_LAYER

    @property
    def head_norms(self) -> bool:
        return self.kind in _NORMS_OF_HEADS

    @property
    def layer(self) -> int:
        """Scalars of one decoder layer."""
        return (self.parameters - self.embedding * (1 if self.tied else 2)) // self.layers

    @property
    def linears(self) -> int:
        """Scalars in the linear layers of the decoder: what 4-bit loading shrinks."""
        layer = self.hidden * (self.attention + self.queries) + 3 * self.hidden * self.intermediate
        return self.layers * layer

    def adapter_parameters(self, rank: int) -> int:
        """Return the scalars of LoRA adapters of `rank` on every linear layer of the decoder."""
        inputs = 6 * self.hidden + self.queries + self.intermediate
        outputs = self.attention + 2 * self.hidden + 2 * self.intermediate
        return self.layers * rank * (inputs - self.hidden + outputs)


def read_shape(source: Path | Mapping[str, Any]) -> ModelShape:
    """
    Read a model's folder, its `config.json`, or the configuration itself.

    A multimodal Gemma-3 counts with its text part only, which is what the trainer loads.
    Raises `ShapeError` for anything but a configuration of a known decoder-only family.
    """
    config = _text_part(_load(source) if isinstance(source, Path) else source)
    kind = str(config.get("model_type", "unknown"))
    if kind not in _KNOWN:
        raise ShapeError(
            f"No memory formula for model type {kind!r}; known are {', '.join(sorted(_KNOWN))}."
        )
    try:
        return _count(kind, config)
    except KeyError as missing:
        raise ShapeError(f"The model's config.json has no {missing}; is it complete?") from None


def _load(path: Path) -> Mapping[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text())
    except OSError:
        raise ShapeError(f"Cannot read {file}; give the folder of a model on disk.") from None
    except ValueError as error:
        raise ShapeError(f"{file} is not JSON: {error}.") from None
    if not isinstance(config, dict):
        raise ShapeError(f"{file} is not a model configuration: it holds no object.")
    return config


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        return config
    inherited = {k: config[k] for k in ("tie_word_embeddings",) if k in config}
    # Hub checkpoints leave out what equals the class's own defaults.
    return {**_GEMMA3_DEFAULTS, **inherited, **text} if _is_gemma3(text) else {**inherited, **text}


def _is_gemma3(text: Mapping[str, Any]) -> bool:
    return text.get("model_type") == "gemma3_text"


_GEMMA3_DEFAULTS: dict[str, Any] = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "tie_word_embeddings": True,
}


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return one size, or the default where it is missing or null; KeyError without one."""
    value = config[name] if default is None else config.get(name) or default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ShapeError(
            f"The model's config.json says {name} {json.dumps(value)}; it should be a whole number "
            "of 1 or more."
        )
    return value


def _count(kind: str, config: Mapping[str, Any]) -> ModelShape:
    hidden, layers = _size(config, "hidden_size"), _size(config, "num_hidden_layers")
    inner, vocabulary = _size(config, "intermediate_size"), _size(config, "vocab_size")
    heads = _size(config, "num_attention_heads")
    kv_heads = _size(config, "num_key_value_heads", heads)
    head = _size(config, "head_dim", hidden // heads)
    tied = bool(config.get("tie_word_embeddings", kind.startswith("gemma")))
    attention = (heads + 2 * kv_heads) * head
    layer = (
        hidden * attention
        + heads * head * hidden
        + 3 * hidden * inner
        + _NORMS_PER_LAYER.get(kind, 2) * hidden
        + (2 * head if kind in _NORMS_OF_HEADS else 0)
        + (attention if kind in _BIAS_OF_QKV or config.get("attention_bias") else 0)
    )
    embedding = vocabulary * hidden
    return ModelShape(
        kind=kind,
        parameters=layers * layer + embedding * (1 if tied else 2) + hidden,
        embedding=embedding,
        layers=layers,
        hidden=hidden,
        attention=attention,
        queries=heads * head,
        intermediate=inner,
        vocabulary=vocabulary,
        tied=tied,
    )
