"""Jobs inherit the set-up of the box from the daemons, and nothing of the shell they came from."""

from __future__ import annotations

import json
import os

from berth.inherited import handed_on, withheld

SHELL = {
    "PATH": "/opt/conda/bin:/opt/conda/condabin:/home/ada/venv/bin:/usr/bin:/bin",
    "LD_LIBRARY_PATH": "/opt/conda/lib:/usr/local/cuda/lib64",
    "LANG": "C.UTF-8",
    "LC_TIME": "de_DE.UTF-8",
    "https_proxy": "http://proxy:3128",
    "CONDA_PREFIX": "/opt/conda",
    "CONDA_SHLVL": "1",
    "CONDA_DEFAULT_ENV": "base",
    "CONDA_PROMPT_MODIFIER": "(base) ",
    "CONDA_PREFIX_1": "/opt/conda/envs/x",
    "_CE_CONDA": "",
    "CONDA_EXE": "/opt/conda/bin/conda",
    "VIRTUAL_ENV": "/home/ada/venv",
    "PYTHONPATH": "/nowhere",
    "TMPDIR": "/var/tmp",
    "HF_HOME": "/data/hf",
    "MY_SECRET": "s",
    "RANK": "3",
}


def test_only_the_set_up_of_the_box_is_handed_on():
    """An allow list: neither secrets nor half of an active environment reach a job."""
    assert handed_on(SHELL) == {
        "PATH": "/opt/conda/condabin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "LANG": "C.UTF-8",
        "LC_TIME": "de_DE.UTF-8",
        "https_proxy": "http://proxy:3128",
    }


def test_an_admin_hands_on_more_by_name():
    """Names of berth.toml, and the check of `berth doctor` no longer lists them."""
    assert handed_on(SHELL, ("HF_HOME",))["HF_HOME"] == "/data/hf"
    assert "HF_HOME" not in withheld(SHELL, ("HF_HOME",))
    assert {"HF_HOME", "MY_SECRET", "TMPDIR"} <= set(withheld(SHELL))


def test_a_job_does_not_see_the_shell_of_the_daemon(idle_worker, until):
    """Nor does a job of the daemon's own account, which used to inherit all of it."""
    worker = idle_worker
    worker.environment = {**SHELL, "PATH": f"/opt/conda/bin:{os.environ['PATH']}"}
    worker.server.up()
    worker.start()
    until(lambda: worker.server.reports, "the worker reports")

    attempt = worker.run(["python", "-c", "import json, os; print(json.dumps(dict(os.environ)))"])
    worker.until_clear(attempt)

    seen = json.loads(worker.output(attempt))
    assert {name for name in SHELL if name in seen} - {"CONDA_PREFIX", "VIRTUAL_ENV"} == {
        *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_TIME", "https_proxy")
    }
    assert "/opt/conda/bin" not in seen["PATH"].split(":")
