"""Every family of models on the same promises: trained, stopped, resumed, saved, loaded, asked."""

import json

import pytest
from tests.trainer import families
from tests.trainer.launching import lines_of, losses

from berth_trainer.checkpoint import checkpoints
from berth_trainer.data.encode import IGNORED, Encoder
from berth_trainer.data.prompts import WORDINGS, Parts, Said
from berth_trainer.model import chunked_loss

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FAST = {"learning_rate": 1e-2, "lr_scheduler": "constant", "max_length": 512, "batch_size": 2}
ASKED = Parts(("likes tea",), (), (Said(by_target=False, text="Tea?"),))
FEW = {"max_train_samples": 8, "max_eval_samples": 3}


def learned(encoded):
    return [label for label in encoded.labels if label != IGNORED]


def test_no_family_is_left_out():
    """Whoever adds one to the chunked loss adds it here."""
    assert {f"{kind}ForCausalLM" for kind in families.KINDS} == chunked_loss.ABLE


@pytest.mark.parametrize("kind", [*families.KINDS, families.MULTIMODAL])
def test_a_family_is_trained_stopped_resumed_saved_and_asked(kind, chain, tokenizer, tmp_path):
    """
    Stopped by a signal and resumed it is the run that was never stopped, to the last bit of its
    weights; a plain from_pretrained finds every weight, and the model that it loads gives the
    loss that was tested.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    end = families.make(kind, tmp_path / "start", tokenizer)

    def run(out, *words, code=0, **env):
        done = chain(out, *words, training=FAST, data=FEW, env=env, deepspeed={"stage": 3},
                     model={"path": str(tmp_path / "start")}, predict={"max_new_tokens": 4})  # fmt: skip
        assert done.code == code, done.text
        return done

    def load(out):
        model, info = AutoModelForCausalLM.from_pretrained(out / "final_model", output_loading_info=True)  # fmt: skip
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        return model.eval()

    whole = run("whole", "--max_steps", 4)
    stopped = run("out", "--max_steps", 4, code=143, BERTH_TEST_TERM_AT="2")
    assert checkpoints.inspect(stopped.out / "checkpoint-2").flaw is None
    resumed = run("out", "--max_steps", 4, "--resume")
    asked = run("out", "--predict")

    assert losses(resumed.out / "metrics.jsonl") == losses(whole.out / "metrics.jsonl")
    results = json.loads((resumed.out / "results.json").read_text())
    check = results["final_model_check"]
    assert check["saved_loss"] == pytest.approx(check["trained_loss"], abs=2e-5)
    judged = json.loads((asked.out / "predictions_metrics.json").read_text())
    assert judged["test_loss"] == pytest.approx(results["test_loss"], abs=2e-5)
    assert len(lines_of(asked.out / "predictions.jsonl")) == FEW["max_eval_samples"]
    model, expected = load(resumed.out), load(whole.out).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert type(model).__name__ in chunked_loss.ABLE
    saved = AutoTokenizer.from_pretrained(resumed.out / "final_model")
    encoded = Encoder(saved, WORDINGS["en"], 512).encode(ASKED, "yes")
    assert saved.decode(learned(encoded)).strip() == f"yes{end}"
    thinks = "<think>\n\n</think>\n\n" in saved.decode(encoded.input_ids)
    assert thinks == (kind == "Qwen3"), "empty marks are read, not learned"
