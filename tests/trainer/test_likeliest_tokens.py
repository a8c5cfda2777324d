"""Temperature 0 is the likeliest token, whatever the model's generation config says."""

import pytest
import torch

from berth_trainer.config.settings import PredictSettings
from berth_trainer.data.encode import Encoder
from berth_trainer.data.prompts import WORDINGS
from berth_trainer.training.prediction import _Generator

UNASKED = {
    "penalty": {"repetition_penalty": 1.8},
    "repeats": {"no_repeat_ngram_size": 1},
    "suppressed": {"suppress_tokens": list(range(0, 1024, 2))},
    "shortest": {"min_new_tokens": 12},
    "sampling": {"do_sample": True, "temperature": 2.0, "top_k": 50},
    "beams": {"num_beams": 3},
    "decay": {"exponential_decay_length_penalty": (1, 9.0)},
}


@pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED)
def test_temperature_zero(workspace, tokenizer, unasked):
    """The same tokens as an arg max over the model's own logits."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(workspace / "model")
    for name, value in unasked.items():
        setattr(model.generation_config, name, value)
    encoder = Encoder(tokenizer, WORDINGS["en"], 64)
    generator = _Generator(model, tokenizer, encoder, "cpu")
    prompt = encoder._ids("<bos>a b c")
    expected = list(prompt)
    with torch.inference_mode():
        for _ in range(12):
            likeliest = int(model(torch.tensor([expected])).logits[0, -1].argmax())
            if likeliest in generator._ends:
                break
            expected.append(likeliest)

    settings = PredictSettings(max_new_tokens=12, temperature=0)
    with torch.inference_mode():
        (answer,) = generator._complete([prompt], settings)

    assert answer == tokenizer.decode(expected[len(prompt) :], skip_special_tokens=True).strip()


def test_a_temperature_alone_decides_what_is_sampled(workspace, tokenizer):
    """Of all tokens, not of the fifty likeliest; the same again with the same seed."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(workspace / "model")
    encoder = Encoder(tokenizer, WORDINGS["en"], 64)
    generator = _Generator(model, tokenizer, encoder, "cpu")
    generator._ends = []
    prompt = encoder._ids("<bos>a b c")
    drawn = []
    generate = model.generate
    model.generate = lambda **options: drawn.append(generate(**options)) or drawn[-1]

    for _ in range(2):
        torch.manual_seed(3)
        with torch.inference_mode():
            generator._complete([prompt], PredictSettings(max_new_tokens=12, temperature=1e4))

    ids = drawn[0][0]
    with torch.inference_mode():
        logits = model(ids[None, :-1]).logits[0, len(prompt) - 1 :]
    ranks = (logits > logits.gather(1, ids[len(prompt) :, None])).sum(1)
    assert (ranks >= 50).any(), "by chance once in 10^15"
    assert torch.equal(*drawn)
