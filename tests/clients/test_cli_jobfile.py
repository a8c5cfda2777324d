"""Job files: what stands in the file is what is meant."""

from __future__ import annotations

import pytest

from berth.cli import jobfile
from berth.cli.failure import Failure


def read(text: str):
    return jobfile.read("-", text)


@pytest.mark.parametrize(
    ("yaml", "spec"),
    [
        ("command: [python, t.py, --lr, 1e-4, --bf16, no]", {"command": ["python", "t.py", "--lr", "1e-4", "--bf16", "no"]}),
        ("env: {LR: 5e5, FLAG: yes, EMPTY: , TIME: 12:00:00}", {"env": {"LR": "5e5", "FLAG": "yes", "EMPTY": "", "TIME": "12:00:00"}}),
        ("time_limit: 12:00:00", {"time_limit": "12:00:00"}),
        ("time_limit: 3600", {"time_limit": 3600}),
        ("gpus: 4\npreemptible: true\nhold: no", {"gpus": 4, "preemptible": True, "hold": "no"}),
        ("name: 007\nlabels: {seed: 007, on: off}", {"name": "007", "labels": {"seed": "007", "on": "off"}}),
        ("gpu_memory: null\nname: ~", {"gpu_memory": None, "name": None}),
        ("priority: 1e2\nretries: '3'", {"priority": 100.0, "retries": "3"}),
        ("not_before: 2026-11-24T22:00:00Z", {"not_before": "2026-11-24T22:00:00Z"}),
        ("on_oom: {steps: [offload]}\ndepends_on: [1, 2]", {"on_oom": {"steps": ["offload"]}, "depends_on": [1, 2]}),
        ('{"command": "a", "gpus": 1}', {"command": "a", "gpus": 1}),
        ("script: |\n  set -e\n  echo hi\n", {"script": "set -e\necho hi\n"}),
    ],
)  # fmt: skip
def test_values_are_read_as_they_are_meant(yaml, spec):
    """Text fields take the text as it stands, the others numbers and truth as YAML 1.2 has them."""
    assert read(yaml) == [spec]


def test_shared_parts_by_anchor():
    """`<<` shares fields between jobs of a list; a job's own win."""
    jobs = read(
        "- &base {command: a, gpus: 4, env: {X: 1}}\n- {<<: *base, gpus: 2}\n- {gpus: 1, <<: [*base]}\n"
    )

    assert [job["gpus"] for job in jobs] == [4, 2, 1]
    assert {job["command"] for job in jobs} == {"a"}
    assert jobs[1]["env"] == {"X": "1"}


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("command: a\ngpus: 1\ncommand: b", "line 3: 'command' is given twice"),
        ("env:\n  A: 1\n  A: 2", "line 3: 'A' is given twice"),
        ("command: [a", "line 1"),
        ("command: 'a", "not valid YAML"),
        ("", "write one job"),
        ("[]", "write one job"),
        ("just words", "write one job"),
        ("- command: a\n- b", "write one job"),
        ("command: !!python/object/apply:os.system [ls]", "tag"),
        ("command: &x [*x]", "contains itself"),
        ("? [a, b]\n: 1", "a key must be a word"),
        ("command: a\n---\ncommand: b", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_line(yaml, sentence):
    """A file that cannot be meant is refused with one sentence."""
    with pytest.raises(Failure) as caught:
        read(yaml)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    """Missing, binary and folder each get a sentence."""
    (tmp_path / "bin.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.yaml", "bin.yaml", "."):
        with pytest.raises(Failure, match=r"\.$"):
            jobfile.read(str(tmp_path / name))
