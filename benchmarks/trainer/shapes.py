"""Gemma-3's shapes, with random weights: speed and memory do not depend on the values."""

from __future__ import annotations

from typing import Any

VOCABULARY = 262_208
_WIDE = {"vocab_size": VOCABULARY, "max_position_embeddings": 32_768}

SHAPES: dict[str, dict[str, Any]] = {
    # For a machine without a GPU: shows that the script works, and nothing else.
    "tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "intermediate_size": 192,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "vocab_size": 16_000,
        "max_position_embeddings": 32_768,
    },
    "1b": {
        "hidden_size": 1152,
        "num_hidden_layers": 26,
        "intermediate_size": 6912,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        **_WIDE,
    },
    "4b": {
        "hidden_size": 2560,
        "num_hidden_layers": 34,
        "intermediate_size": 10_240,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        **_WIDE,
    },
    "27b": {
        "hidden_size": 5376,
        "num_hidden_layers": 62,
        "intermediate_size": 21_504,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        **_WIDE,
    },
}


def config_of(shape: str, layers: int | None = None) -> Any:
    """Transformers' configuration of a shape, cut to `layers` where given."""
    from transformers import Gemma3TextConfig

    sizes = dict(SHAPES[shape])
    if layers is not None:
        sizes["num_hidden_layers"] = layers
    return Gemma3TextConfig(
        sliding_window=1024,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        tie_word_embeddings=True,
        **sizes,
    )
