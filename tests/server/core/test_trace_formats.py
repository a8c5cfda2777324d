"""Public traces that the replay reads: which rows are jobs, and what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "replay" / "traces.py"
SPEC = importlib.util.spec_from_file_location("replay_traces", FILE)
assert SPEC is not None
assert SPEC.loader is not None
traces = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(traces)

HELIOS = """\
job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue
7,uA,vcB,1,4,1,COMPLETED,2020-06-09 18:41:01,2020-06-09 18:41:01,2020-06-09 19:41:01,3600,0
8,uC,vcB,4,16,1,FAILED,2020-06-09 18:41:27,2020-06-09 18:42:27,2020-06-09 18:46:36,249,60
"""
ALIBABA = """\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
openb-pod-1,6000,12288,1,460,,LS,Running,427061,12902960,427061
openb-pod-2,6000,12288,8,1000,V100M32,BE,Failed,500000,500655,500000
openb-pod-3,6000,12288,1,1000,,LS,Pending,600000,600900,
"""
PHILLY = "timestamp,duration,num_gpus,cluster\n2017-09-01 00:00:10,120,2,ee9e8c\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HELIOS, [(0.0, 3600.0, 1, "uA"), (26.0, 249.0, 4, "uC")]),
        (ALIBABA, [(0.0, 12475899.0, 1, "LS"), (72939.0, 655.0, 8, "BE")]),
        (PHILLY, [(0.0, 120.0, 2, "ee9e8c")]),
    ],
)
def test_the_header_decides_how_a_trace_is_read(tmp_path, text, expected):
    """Times from the first submission; what never ran is left out."""
    file = tmp_path / "trace.csv"
    file.write_text(text)
    rows = list(traces.read_rows(file))
    first = rows[0][0]
    assert [(at - first, *rest) for at, *rest in rows] == expected


def test_an_unknown_header_is_refused_with_those_that_are_known(tmp_path):
    """One sentence."""
    file = tmp_path / "trace.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="gpu_num"):
        list(traces.read_rows(file))
