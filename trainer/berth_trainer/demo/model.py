"""A random Gemma-3 text model of a million parameters, with a tokenizer of its own."""

from collections.abc import Sequence
from pathlib import Path

VOCABULARY = 1024
SEED = 20260105
SPECIAL = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('roles must alternate user/assistant, beginning with user') -}}
{%- endif -%}
{%- set speaker = 'model' if message['role'] == 'assistant' else 'user' -%}
{{- '<start_of_turn>' + speaker + '\\n' + (message['content'] | trim) + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""


def save_model(folder: Path, *, texts: Sequence[str]) -> None:
    """Train the tokenizer on `texts`, draw the weights from a fixed seed, save both."""
    # Late: the sample itself is made without these.
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = _tokenizer(texts)
    torch.manual_seed(SEED)
    model = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=640,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=1024,
            sliding_window=128,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
            pad_token_id=SPECIAL.index("<pad>"),
            eos_token_id=SPECIAL.index("<eos>"),
            bos_token_id=SPECIAL.index("<bos>"),
            tie_word_embeddings=True,
        )
    )
    # Said in config.json, so that the trainer does not wonder at the first loss.
    model.config.untrained = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(texts: Sequence[str]):  # noqa: ANN202  # transformers is imported late, so its type has no name here
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        **{f"{mark[1:-1]}_token": mark for mark in SPECIAL[:3]},
        additional_special_tokens=SPECIAL[3:],
        chat_template=CHAT_TEMPLATE,
    )
