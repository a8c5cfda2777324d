"""One rule for secrets, wherever they would be shown."""

from __future__ import annotations

import pytest

from berth import masking
from berth.masking import MASK
from berth.protocol.specs import JobSpec

SECRETS = [
    "postgres://u:S3CRET@h/x",
    "redis://:S3CRET@h:6379",
    "postgres://u:S3/CR@ET@h/x",
    "https://S3CRETS3CRETS3CRETS3CRET@git.example.org/x",
    "x --token S3CRET",
    "x --api-key=S3CRET",
    "WANDB_API_KEY=S3CRET python x.py",
    "host=h password=S3CRET user=u",
    '{"secret": "S3CRET"}',
    "curl -H 'Authorization: Bearer S3CRETS3CRET'",
    "hf_S3CRETS3CRETS3CRET",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_masked_in_any_text(text):
    """By name, by shape, and within an address; doing it twice changes nothing."""
    shown = masking.masked(text)
    assert "S3CR" not in shown
    assert "ET@h" not in shown
    assert MASK in shown
    assert masking.masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    ["https://h:80/x?a=b", "python train.py --max_tokens 5 --tokenizer gpt2", "a@b.c", "k=v",
     "--pad_token_id 3 --eos_token_id=2", "ssh://u@h/x", "monkey = 5", ""],
)  # fmt: skip
def test_what_is_no_secret_is_shown(text):
    """Users have to see what they run."""
    assert masking.masked(text) == text


@pytest.mark.parametrize("name", ["HF_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "KEY", "pwd"])
def test_a_variable_is_a_secret_by_its_name(name):
    """Whatever its value is."""
    assert masking.masked_env({name: "x", "A": "x"}) == {name: MASK, "A": "x"}


def test_a_job_shows_none_anywhere(api):
    """In environment, command, script, labels, lists, events and reprs; it runs with them all."""
    address = "postgres://u:S3CRET@h/x"
    made = []
    for more in ({"command": ["x", "--token", "S3CRET", address]}, {"script": f"x {address}"},
                 {"command": f"x --db {address}"}):  # fmt: skip
        body = {"workdir": "/", "hold": True, "env": {"DB_URL": address}, "labels": {"db": address}}
        answer = api.post("/api/v1/jobs", json=body | more)
        assert answer.status_code == 201, answer.text
        assert "S3CRET" not in answer.text
        made.append(answer.json()["id"])
        assert "S3CRET" not in repr(JobSpec(**body, **more))
    for path in ("jobs", *(f"jobs/{one}" for one in made), *(f"jobs/{one}/explain" for one in made),
                 "events", "queue", "settings", "users"):  # fmt: skip
        assert "S3CRET" not in api.get(f"/api/v1/{path}").text, path
    answer = api.post("/api/v1/jobs/dry-run", json=body | {"command": f"x --db {address}"})
    assert "S3CRET" not in answer.text
