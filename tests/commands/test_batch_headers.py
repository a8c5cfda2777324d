"""`#SBATCH` and `#BERTH` lines: what they ask for is a field of the job, or is said."""

from __future__ import annotations

import pytest

from berth.commands import CommandError
from berth.commands.headers import read_header, slurm_variables


def header(*lines: str):
    """The header of a script with these lines."""
    return read_header("#!/bin/bash\n" + "\n".join(lines) + "\npython train.py\n")


GPUS = [
    ("--gres=gpu:4", 4), ("--gres gpu:4", 4), ("--gres=gpu:a100:4", 4), ("--gres=gpu", 1),
    ("--gres=gpu:a100", 1), ("--gres=gpu:2,license:1", 2), ("--gres=gpu:4(S:0-1)", 4),
    ("--gpus=4", 4), ("--gpus=h100:4", 4), ("--gpus=a100:2,h100:2", 4), ("-G 4", 4), ("-G4", 4),
    ("--gpus-per-node=4", 4), ("--gpus-per-node=a100:4 --nodes=1", 4), ("--gres=gpu:0", 0),
    ("--gpus-per-task=1 --ntasks=4", 4), ("--gpus-per-task=2 -n 2", 4), ("--gpus-per-task=2", 2),
    ("--gpus-per-task=1 --ntasks-per-node=4", 4), ("--tres-per-node=gres/gpu:4", 4),
    ("--tres-per-task=gres/gpu:1 -n 3", 3), ("--gres=gpu:4   # four of them", 4),
    ("--mem=4G", None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "gpus"), GPUS)
def test_gpus_are_read_in_every_spelling(line, gpus):
    """Per node and per task come to the same on one box."""
    assert header(f"#SBATCH {line}").fields.get("gpus") == gpus


TIMES = [
    ("90", 5400), ("90:30", 5430), ("2:00:00", 7200), ("1-12", 129600), ("1-12:30", 131400),
    ("1-12:30:05", 131405), ("0", None), ("UNLIMITED", None), ("infinite", None),
]  # fmt: skip


@pytest.mark.parametrize(("written", "seconds"), TIMES)
def test_time_is_read_in_every_format(written, seconds):
    """A bare number is minutes, as in Slurm."""
    found = header(f"#SBATCH --time={written}").fields.get("time_limit")

    assert found == (None if seconds is None else f"{seconds}s")


FIELDS = [
    ("#SBATCH -J train", {"name": "train"}),
    ("#SBATCH --job-name='my run'", {"name": "my run"}),
    ("#SBATCH -D /data/run", {"workdir": "/data/run"}),
    ("#SBATCH --chdir=sub", {"workdir": "sub"}),
    ("#SBATCH -d afterok:3", {"depends_on": ["afterok:3"]}),
    ("#SBATCH --dependency=afterany:3:4,afternotok:5",
     {"depends_on": ["afterany:3", "afterany:4", "afternotok:5"]}),
    ("#SBATCH --mail-user=https://hooks/x", {"notify": ["https://hooks/x"]}),
    ("#SBATCH --hold", {"hold": True}),
    ("#SBATCH --begin=now+2hours", {"not_before": "2h"}),
    ("#SBATCH --begin=22:00", {"not_before": "22:00"}),
    ("#SBATCH --export=ALL,SEED=1", {"env": {"SEED": "1"}}),
    ("#SBATCH --signal=B:USR1@300", {"warn_before": "300s"}),
    ("#SBATCH -N 1", {}),
    ("#BERTH --gpus 4 --retries=2 -l a=b -l c=d",
     {"gpus": 4, "retries": 2, "labels": {"a": "b", "c": "d"}}),
    ("#BERTH --time-limit 12h --env SEED=1 --preemptible",
     {"time_limit": "12h", "env": {"SEED": "1"}, "preemptible": True}),
    ("#BERTH --depends-on 3,afterany:4:5 --after-time 22:00",
     {"depends_on": ["3", "afterany:4", "afterany:5"], "not_before": "22:00"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "fields"), FIELDS)
def test_a_line_becomes_a_field(line, fields):
    """Spelled as in a job file."""
    assert header(line).fields == fields


@pytest.mark.parametrize(
    "line",
    ["--output=x-%j.out", "-e err", "--mail-type=END", "--mail-user=ada@lab", "--partition=gpu",
     "-A lab", "--qos=high", "--mem=64G", "-c 8", "--cpus-per-gpu=4", "--exclusive", "-n 4",
     "--constraint=a100", "-w node1", "--requeue", "--signal=TERM@60", "--gpus-per-socket=2",
     "--export=ALL", "--frobnicate=3", "--gres=shard:2", "--begin=noon", "--nice=100"],
)  # fmt: skip
def test_a_line_without_meaning_is_said_in_one_sentence(line):
    """Nothing that was asked for is passed over."""
    found = header(f"#SBATCH {line}")

    named = [note for note in found.notes if line.split("=")[0].split()[0] in note]
    assert len(named) == 1
    assert named[0].endswith(".")


@pytest.mark.parametrize(
    "line",
    ["--nodes=2", "-N 2-4", "--dependency=singleton", "--dependency=after:3", "--time=soon",
     "--array=a-b", "--array=0-99999", "--gpus=many", "--job-name='x", "gpus=4"],
)  # fmt: skip
def test_a_line_that_cannot_be_left_out_is_refused(line):
    """A run on half the machines, or before its dependency, is worse than none."""
    with pytest.raises(CommandError) as refused:
        header(f"#SBATCH {line}")
    assert str(refused.value).endswith(".")


def test_the_header_ends_at_the_first_command():
    """As in Slurm; a line with two marks is switched off."""
    found = read_header(
        "#!/bin/bash\n\n# a comment\n#SBATCH --gpus=2\n##SBATCH --time=9\n#SBATCHED --x\n"
        "cd x\n#SBATCH --gpus=8\n"
    )

    assert found.fields == {"gpus": 2}
    assert found.notes == ()


def test_berth_wins_over_slurm_and_the_last_line_counts():
    """One script serves both."""
    found = header("#SBATCH --gpus=2", "#SBATCH --gpus=4", "#BERTH --gpus 1 --env A=1",
                   "#SBATCH --export=B=2")  # fmt: skip

    assert found.fields == {"gpus": 1, "env": {"A": "1", "B": "2"}}


@pytest.mark.parametrize(
    ("written", "tasks", "at_once"),
    [("0-3", (0, 1, 2, 3), None), ("1,3,5", (1, 3, 5), None), ("0-8:4", (0, 4, 8), None),
     ("0-9%2", tuple(range(10)), 2), ("7", (7,), None)],
)  # fmt: skip
def test_arrays_are_read(written, tasks, at_once):
    """Lists, ranges, steps, and how many at once."""
    array = header(f"#SBATCH --array={written}").array

    assert array is not None
    assert (array.tasks, array.at_once) == (tasks, at_once)
    assert array.variables(tasks[0])["SLURM_ARRAY_TASK_ID"] == str(tasks[0])
    assert array.variables(tasks[0])["BERTH_ARRAY_TASK_COUNT"] == str(len(tasks))


def test_slurms_variables_are_there_for_slurms_scripts_alone():
    """Those that make libraries believe in srun are not."""
    script = "#!/bin/bash\n#SBATCH -J x -G 2\necho $SLURM_JOB_ID\n"

    found = slurm_variables(script, job_id=42, workdir="/w", gpus=2)

    assert found["SLURM_JOB_ID"] == "42"
    assert found["SLURM_GPUS_ON_NODE"] == "2"
    assert not {"SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NODELIST"} & found.keys()
    assert slurm_variables("echo", job_id=42, workdir="/w", gpus=2) == {}
