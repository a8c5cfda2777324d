"""The executor plug-in, with the real submitit against a real server and worker."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import pytest
import submitit
from submitit.core import plugins, test_core, utils

from berth.integrations.submitit_plugin import executor as executor_module
from berth.integrations.submitit_plugin.executor import BerthExecutor
from berth.integrations.submitit_plugin.job import BerthJob

# What is defined here goes into the pickles whole, as from a notebook.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def executor(tmp_path):
    executor = submitit.AutoExecutor(folder=tmp_path / "log_%j", cluster="berth")
    executor.update_parameters(gpus_per_node=0)
    return executor


def test_a_result_comes_back(executor, queue):
    """The job is Berth's, under the same id; one GPU unless it says otherwise."""
    executor.update_parameters(gpus_per_node=1, name="adding", timeout_min=3, berth_priority=2)
    job = executor.submit(lambda a, b: (a + b, os.environ["CUDA_VISIBLE_DEVICES"]), 5, b=7)

    assert job.result() == (12, "0")
    assert job.done()
    shown = queue.job(int(job.job_id))
    assert (shown["name"], shown["gpus"], shown["priority"]) == ("adding", 1, 2)
    assert shown["time_limit"] == "3m"
    assert job.paths.result_pickle.parent.name == f"log_{job.job_id}"


def test_the_plug_in_is_found_by_its_entry_points(monkeypatch):
    """And offers itself where a server answers, only there."""
    assert plugins.get_executors()["berth"] is BerthExecutor
    assert plugins.get_job_environments()["berth"].name() == "berth"
    monkeypatch.setattr(executor_module, "_SLURM_FILES", ())
    assert submitit.AutoExecutor.which() == "berth"
    monkeypatch.setattr(executor_module, "_SLURM_FILES", ("/etc",))
    assert BerthExecutor.affinity() == 1
    monkeypatch.setenv("BERTH_HOME", "/nowhere")
    assert BerthExecutor.affinity() == -1


def test_an_array_is_one_transaction(executor):
    """Consecutive ids; results in order; `batch` is the same."""
    jobs = executor.map_array(pow, [2, 3, 4, 5], [3, 3, 3, 3])
    with executor.batch():
        late = [executor.submit(pow, base, 2) for base in (6, 7)]

    assert [job.result() for job in jobs] == [8, 27, 64, 125]
    assert [job.result() for job in late] == [36, 49]
    ids = [int(job.job_id) for job in jobs]
    assert ids == list(range(ids[0], ids[0] + 4))


def test_a_traceback_comes_back_with_the_logs(executor):
    """As submitit has it, and in Berth's log too."""

    def fails():
        print("out it says")
        print("err it says", file=sys.stderr)
        raise KeyError("nothing there")

    job = executor.submit(fails)
    with pytest.raises(utils.FailedJobError, match="KeyError: 'nothing there'"):
        job.result()
    assert "out it says" in job.stdout()
    assert "err it says" in job.stderr()
    assert "in fails" in str(job.exception())


def test_output_is_in_the_log_of_the_job(executor, queue):
    """`berth logs` shows it as for every other job."""
    job = executor.submit(print, "seen twice")
    job.result()

    queue.wait(int(job.job_id))
    assert "seen twice" in queue.log(int(job.job_id))
    assert "seen twice" in job.stdout()


def test_a_job_that_dies_says_what_berth_knows(executor):
    """Its sentence, and the last lines of its output, at once."""

    def dies():
        print("last words", flush=True)
        os._exit(7)

    job = executor.submit(dies)
    began = time.monotonic()
    with pytest.raises(utils.UncompletedJobError, match=r"(?s)ended as FAILED.*7.*last words"):
        job.result()
    assert time.monotonic() - began < 15
    assert job.state == "FAILED"


def test_tasks_have_ranks_and_files_of_their_own(executor):
    """`tasks_per_node`: one job, a result of each."""

    def rank():
        env = submitit.JobEnvironment()
        print(f"rank {env.global_rank}", flush=True)
        return env.job_id, env.global_rank, env.local_rank, env.num_tasks, env.num_nodes

    executor.update_parameters(tasks_per_node=2)
    job = executor.submit(rank)

    assert job.results() == [(job.job_id, n, n, 2, 1) for n in (0, 1)]
    assert "rank 1" in job.task(1).stdout()
    assert "rank 0" not in job.task(1).stdout()


def test_the_submitters_variables_and_folder_are_there(executor, monkeypatch, tmp_path, queue):
    """Those of the place apart; they are not in the queue, where others could see them."""
    monkeypatch.setenv("HF_HOME", "/data/hf")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    monkeypatch.chdir(tmp_path)

    def seen():
        names = ("HF_HOME", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "FROM_BERTH")
        return [os.environ.get(name) for name in names], str(Path.cwd())

    executor.update_parameters(berth_env={"FROM_BERTH": "yes"}, berth_setup=["export HF_HOME=/x"])
    job = executor.submit(seen)
    (home, visible, slurm, ours), folder = job.result()

    assert (home, slurm, ours, folder) == ("/x", None, "yes", str(tmp_path))
    assert visible != "7"
    assert "/data/hf" not in json.dumps(queue.job(int(job.job_id)))


def test_jobs_are_cancelled(executor, queue):
    """By the job, or when it is deleted if that was asked for."""
    job = executor.submit(time.sleep, 600)
    queue.wait(int(job.job_id), state={"running"})
    job.cancel()
    with pytest.raises(utils.UncompletedJobError, match="ended as CANCELLED"):
        job.result()
    job.cancel(check=False)

    other = executor.submit(time.sleep, 600).cancel_at_deletion()
    number = int(other.job_id)
    del other
    assert queue.wait(number)[0]["state"] == "cancelled"


def test_a_job_can_be_kept_in_a_pickle(executor):
    """And asked from another process."""
    job = pickle.loads(pickle.dumps(executor.submit(pow, 2, 10)))

    assert isinstance(job, BerthJob)
    assert job.result() == 1024


class Counting:
    """A function that keeps its state over a requeue, by submitit's protocol."""

    def __init__(self, to: int, gate: Path) -> None:
        self.at, self.to, self.gate = 0, to, gate

    def __call__(self) -> tuple[int, str]:
        while self.at < self.to:
            self.at += 1
            (self.gate / f"{self.at}.there").touch()
            while self.at == 3 and not (self.gate / "go").exists():
                time.sleep(0.02)
        return self.at, os.environ["BERTH_ATTEMPT"]

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        (self.gate / "go").touch()
        return submitit.helpers.DelayedSubmission(self)


def test_a_preempted_function_goes_on_where_it_was(executor, queue, until, tmp_path):
    """Berth warns, submitit saves and leaves, the next attempt has the saved state."""
    executor.update_parameters(
        gpus_per_node=2, berth_preemptible=True, berth_warn_before="1m", berth_priority=-5
    )
    job = executor.submit(Counting(5, tmp_path))
    until((tmp_path / "3.there").exists, "the function is at 3")
    urgent = queue.submit(command=["true"], gpus=2, priority=10)

    assert job.result() == (5, f"{job.job_id}.2")
    assert queue.job(urgent)["state"] == "succeeded"
    first, second = queue.wait(int(job.job_id))[0]["attempts"]
    assert first["outcome"] == "preempted"
    assert second["outcome"] == "exit"


def test_a_function_at_its_time_limit_is_queued_again_as_often_as_agreed(queue, until, tmp_path):
    """`max_num_timeout`; then its error says so. By submitit's rule a short limit is always near."""
    executor = submitit.AutoExecutor(
        folder=tmp_path / "log", cluster="berth", berth_max_num_timeout=1
    )
    executor.update_parameters(gpus_per_node=0, timeout_min=1, berth_time_limit="10m")
    job = executor.submit(Sleeping(tmp_path))
    for number in (1, 2):
        said = tmp_path / f"{job.job_id}.{number}"
        until(lambda said=said: said.exists() and said.read_text(), "the function sleeps")
        os.kill(int(said.read_text()), signal.SIGUSR1)  # as Berth warns
    with pytest.raises(utils.UncompletedJobError, match="timed-out too many times"):
        job.result()
    outcomes = [a["outcome"] for a in queue.wait(int(job.job_id))[0]["attempts"]]
    assert outcomes == ["preempted", "exit"]


class Sleeping:
    """A function that never ends by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> None:
        (self.folder / os.environ["BERTH_ATTEMPT"]).write_text(str(os.getpid()))
        time.sleep(600)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(self)


def test_more_than_one_node_is_refused(executor):
    """In a sentence."""
    with pytest.raises(ValueError, match="one machine"):
        executor.update_parameters(nodes=2)


def test_unknown_parameters_are_named(executor):
    """Submitit lists what there is."""
    with pytest.raises(NameError, match="priority"):
        executor.update_parameters(berth_prio=1)


def test_submitits_own_checks_of_plug_ins():
    """Those of its test suite that hold for any executor."""
    assert isinstance(plugins.get_job_environments()["berth"], submitit.JobEnvironment)
    assert not plugins.get_job_environments()["berth"].activated()
    assert issubclass(BerthExecutor, test_core.core.Executor)
