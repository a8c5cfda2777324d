"""A job's specification in the database: it reads back as it was written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from berth.protocol.specs import JobSpec, OomLadder
from berth_server.store import specs

FULL = JobSpec(
    name="Zoë",
    command=["python", "train.py", "--note", 'quotes " and \n'],
    gpus=1,
    nodes=1,
    gpus_per_node=1,
    gpu_memory=20 << 30,
    share=True,
    workdir="/home/ada/twin",
    env={"API_TOKEN": "not-a-real-token"},
    python="/home/ada/envs/twin",
    priority=-3,
    time_limit=timedelta(hours=10, milliseconds=7),
    grace=timedelta(seconds=90),
    warn_before=timedelta(minutes=2),
    retries=2,
    on_oom=OomLadder(steps=("halve_micro_batch", "offload")),
    on_stall="stop",
    depends_on=[1, 2],
    not_before=datetime(2026, 12, 24, 18, 30, 0, 250_000, UTC),
    hold=True,
    labels={"team": "vision"},
    preemptible=True,
    snapshot=True,
    notify=["https://hooks.example.org/services/T0/secret"],
    notify_on=["start", "waiting:2h"],
)


def test_the_full_spec_sets_every_field():
    """So that the next test covers a field that is added to the spec."""
    assert FULL.model_fields_set == JobSpec.model_fields.keys() - {"script", "script_file"}


@pytest.mark.parametrize(
    "spec", [FULL, JobSpec(command="true"), JobSpec(script="true\n", script_file="/home/ada/t.sh")]
)
def test_a_spec_reads_back_as_it_was_written(spec):
    """Values and their types."""
    read = specs.decode(specs.encode(spec))
    assert read == spec
    assert [type(value) for _, value in read] == [type(value) for _, value in spec]


def test_a_long_script_is_not_kept_in_the_cache():
    """A cache of a thousand such scripts would take a gigabyte."""
    text = specs.encode(JobSpec(script="true # " + "x" * 20_000))
    assert specs.decode(text) is not specs.decode(text)


def test_a_row_of_an_older_version_takes_the_default_of_a_new_field():
    """Adding a field needs no migration, and a rule that becomes stricter refuses no old row."""
    assert specs.decode('{"command":"true","time_limit":1.0}').retries == 0
    assert specs.decode('{"command":"true","priority":1000000}').priority == 1_000_000
