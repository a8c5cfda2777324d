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
