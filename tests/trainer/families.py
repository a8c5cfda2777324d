"""Tiny models of other families in tests: random weights, the demo's words, each one's own marks."""

from copy import deepcopy

MARKS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|user|>", "<|assistant|>",
         "<|end|>", "[INST]", "[/INST]", "<|start_header_id|>", "<|end_header_id|>",
         "<|eot_id|>", "<|endoftext|>")  # fmt: skip

LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} "
    "[/INST]{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
OLMO2 = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Qwen3 renders: thinking marks before the last answer, none before the earlier ones.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% if '</think>' in m['content'] %}"
    "{{ m['content'].split('</think>')[-1].lstrip('\n') }}{% else %}"
    "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}{% endif %}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
         "max_position_embeddings": 512}  # fmt: skip

# Chat template (None: the demo's, which is Gemma's), mark that ends a turn, further options.
KINDS = {
    "Gemma": (None, "<end_of_turn>", {}),
    "Gemma2": (None, "<end_of_turn>", {"sliding_window": 64, "final_logit_softcapping": 5.0}),
    "Gemma3": (None, "<end_of_turn>", {"sliding_window": 64}),
    "Llama": (LLAMA, "<|eot_id|>", {"tie_word_embeddings": False}),
    "Mistral": (MISTRAL, "<eos>", {"sliding_window": 64, "tie_word_embeddings": False}),
    "Olmo2": (OLMO2, "<eos>", {"tie_word_embeddings": False}),
    "Phi3": (PHI3, "<|end|>", {"tie_word_embeddings": False}),
    "Qwen2": (CHATML, "<|im_end|>", {"tie_word_embeddings": True}),
    "Qwen3": (THINKING, "<|im_end|>", {"tie_word_embeddings": True}),
}
MULTIMODAL = "Gemma3 with images"


def make(kind, folder, demo_tokenizer):
    """Write a model of that kind with its tokenizer; return the mark that ends a turn."""
    import torch
    import transformers

    template, end, options = KINDS["Gemma3" if kind == MULTIMODAL else kind]
    tokenizer = deepcopy(demo_tokenizer)
    if template:
        tokenizer.add_tokens([mark for mark in MARKS if "think" in mark])
        tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
        tokenizer.chat_template = template
    marks = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}  # fmt: skip
    text = {**SMALL, **marks, **options, "vocab_size": len(tokenizer)}
    torch.manual_seed(11)
    if kind == MULTIMODAL:
        vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                  "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
        config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)  # fmt: skip
        model = transformers.Gemma3ForConditionalGeneration(config)
    else:
        name = {"Gemma3": "Gemma3Text"}.get(kind, kind)
        if kind == "Phi3":
            del text["head_dim"]
        config = getattr(transformers, f"{name}Config")(**text)
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.config.untrained = True  # random: the trainer need not wonder at the first loss
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return end
