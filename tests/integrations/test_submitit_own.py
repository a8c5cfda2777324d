"""Tests of submitit's local executor, from its own package, with Berth's executor in its place."""

from __future__ import annotations

import os
import re
import subprocess
import sys

# The others speak of the local executor's own processes and options, or count its seconds.
APPLY = (
    *("test_local_map_array", "test_local_submit_array", "test_local_error", "test_stdout"),
    *("test_pickle_output_from_main", "test_get_first_task_error", "test_custom_checkpoint"),
    "test_load_submission",
)
IN_ITS_PLACE = """
from submitit.local import local

from berth.integrations.submitit_plugin.executor import BerthExecutor


class OnBerth(BerthExecutor):
    def update_parameters(self, **parameters):
        own = {"signal_delay_s": "berth_signal_delay_s"}
        super().update_parameters(**{own.get(k, k): v for k, v in parameters.items()})

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.update_parameters(gpus_per_node=0)


local.LocalExecutor, local.LocalJob = OnBerth, OnBerth.job_class
"""


def test_what_applies_of_submitits_own_tests_passes(queue, tmp_path):
    """Arrays, errors, tasks, output, a checkpoint at the time limit, and submissions read back."""
    (tmp_path / "berth_in_its_place.py").write_text(IN_ITS_PLACE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "berth_in_its_place"]
    command += ["-p", "no:cacheprovider", "-k", " or ".join(APPLY)]
    command += ["--pyargs", "submitit.local.test_local"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "BERTH_HOME": str(queue.home)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert re.search(rf"\b{len(APPLY)} passed", done.stdout), done.stdout
