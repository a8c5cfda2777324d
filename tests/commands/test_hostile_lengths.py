"""Texts that expressions could take the square of the length for, while everybody waits."""

from __future__ import annotations

import time

import pytest

from berth import launcher_files, units
from berth.masking import MASK, masked
from berth.protocol.base import Wire
from berth.protocol.specs import JobSpec

CPU_S = 3.0  # each takes milliseconds; the square took minutes


@pytest.fixture(autouse=True)
def quick():
    """Fail where processor time, not the clock, says that it took long."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < CPU_S


@pytest.mark.parametrize("parse", [units.parse_duration, units.parse_size])
@pytest.mark.parametrize(
    "text", ["-" + "9" * 200_000, "9" * 200_000 + "x", "9." * 100_000, "1h" * 100_000]
)
def test_a_long_number_is_refused_in_a_short_sentence(parse, text):
    """Time limits, sizes and the like come from anybody."""
    with pytest.raises(ValueError, match="is not a") as refused:
        parse(text)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("field", ["time_limit", "grace", "gpu_memory", "not_before"])
def test_a_job_with_one_is_refused_at_once(field):
    """By the model that reads it."""
    with pytest.raises(ValueError, match=field):
        JobSpec.model_validate({"command": "true", field: "-" + "9" * 500_000})
    assert issubclass(JobSpec, Wire)


@pytest.mark.parametrize("piece", ["://", "a://b", "a://b:", "x@", "://a:b@c/", ":", "@", "'"])
def test_a_script_of_addresses_is_masked_in_one_pass(piece):
    """Every list of jobs shows it."""
    masked(piece * (600_000 // len(piece)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://u:S3/CR@ET@h/x", f"postgres://u:{MASK}@h/x"),
        ("x http://h/p y://u:p@h 'a://b:c@d'", f"x http://h/p y://u:{MASK}@h 'a://b:{MASK}@d'"),
        ("http://h:80/a@b", f"http://h:{MASK}@b"),
        ("://:@", "://:@"),
        ("a://b@c", "a://b@c"),
        ("a://b/c://d:e@f", f"a://b/c://d:{MASK}@f"),
    ],
)
def test_passwords_in_addresses_are_masked_up_to_the_last_at(text, shown):
    """As before."""
    assert masked(text) == shown


def test_a_configuration_does_not_multiply_itself(tmp_path):
    """Mappings merged into one another double with each line."""
    lines = ["a0: &a0 {x: 1}"] + [
        f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 60)
    ]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    (tmp_path / "fine.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    found = launcher_files.configs(["bomb.yaml", "fine.yaml"], str(tmp_path))
    assert found == {"fine.yaml": {"a": {"x": 1}, "b": {"x": 1, "y": 2}}}
