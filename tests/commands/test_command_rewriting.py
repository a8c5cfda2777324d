"""Rewriting of a command for its lease."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import replace

import pytest

from berth.commands import CommandError, read
from berth.protocol.states import Launcher


def world(argv) -> dict[str, list[int]]:
    """The GPUs that a started deepspeed gets."""
    flag = next(each for each in argv if each.startswith("--world_info="))
    return json.loads(base64.urlsafe_b64decode(flag.partition("=")[2]))


def test_deepspeed_is_started_through_its_middle_process(safe):
    """GPUs and port are arguments of deepspeed.launcher.launch; the script stays as it is."""
    made = safe(
        "deepspeed --num_gpus=4 --master_port 29501 --enable_each_rank_log=logs --bind_cores_to_rank "
        "train_deepspeed.py --config config.json --ablation_config profile_and_history"
    )

    assert made.argv[:4] == ("/envs/twin/bin/python", "-u", "-m", "deepspeed.launcher.launch")
    assert world(made.argv) == {"localhost": [2, 3, 6, 7]}
    assert made.argv[5:] == (
        "--master_addr=127.0.0.1",
        "--master_port=31007",
        "--enable_each_rank_log=logs",
        "--bind_cores_to_rank",
        "train_deepspeed.py",
        "--config",
        "config.json",
        "--ablation_config",
        "profile_and_history",
    )


def test_inside_a_fence_gpus_count_from_0(safe, fenced):
    """If the other GPUs are masked, every number is the one the job sees."""
    made = safe(
        "CUDA_VISIBLE_DEVICES=4,5,6,7 deepspeed --num_gpus=4 t.py --gpu_ids 4,5,6,7", on=fenced
    )

    assert world(made.argv) == {"localhost": [0, 1, 2, 3]}
    assert made.argv[-1] == "0,1,2,3"
    assert made.env["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert any("GPUs 2\N{EN DASH}3, 6\N{EN DASH}7" in change.why for change in made.changes)


def test_accelerate_gets_ranks_port_and_a_known_configuration(safe):
    """No saved configuration, GPU list or port of the user's is left to decide."""
    made = safe(
        "CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch --num_processes=4 --gpu_ids 4,5,6,7 "
        "--main_process_port 29500 --mixed_precision bf16 train_deepspeed.py --output_dir X"
    )

    assert made.argv == (
        "/envs/twin/bin/python",
        "-m",
        "accelerate.commands.launch",
        "--config_file=/berth/accelerate.yaml",
        "--num_processes=4",
        "--num_machines=1",
        "--gpu_ids=all",
        "--machine_rank=0",
        "--main_process_ip=127.0.0.1",
        "--main_process_port=31007",
        "--rdzv_backend=static",
        "--multi_gpu",
        "--mixed_precision",
        "bf16",
        "train_deepspeed.py",
        "--output_dir",
        "X",
    )
    assert "CUDA_VISIBLE_DEVICES=4,5,6,7" in {change.what for change in made.changes}


@pytest.mark.parametrize(
    "own", ["--use_deepspeed --zero_stage 3", "--config_file zero3.yaml", "--use_fsdp"]
)
def test_accelerate_keeps_the_users_way_of_training(safe, own):
    """DeepSpeed, FSDP and a named configuration stay; --multi_gpu would shut them out."""
    made = safe(f"accelerate launch {own} --num_processes 2 t.py")

    assert set(own.split()) <= set(made.argv)
    assert "--multi_gpu" not in made.argv
    assert "--num_processes=4" in made.argv


def test_one_rank_needs_no_multi_gpu(safe, lease):
    """Accelerate refuses --multi_gpu with one process."""
    single = replace(lease, indices=(5,), visible=(5,))

    assert "--multi_gpu" not in safe("accelerate launch --multi_gpu t.py", on=single).argv


def test_torchrun_meets_on_the_leased_port(safe):
    """--standalone and rendezvous flags give way to a static rendezvous on the leased port."""
    made = safe(
        "torchrun --standalone --nproc_per_node=gpu --rdzv-backend c10d --rdzv_endpoint=localhost:0 "
        "--max-restarts 1 --log-dir logs -t 3 train.py --lr 1"
    )

    assert made.argv == (
        "/envs/twin/bin/python",
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=4",
        "--nnodes=1",
        "--node-rank=0",
        "--rdzv-backend=static",
        "--master-addr=127.0.0.1",
        "--master-port=31007",
        "--max-restarts",
        "1",
        "--log-dir",
        "logs",
        "-t",
        "3",
        "train.py",
        "--lr",
        "1",
    )


def test_leftovers_of_torchrun_in_the_environment_do_not_count(safe):
    """PET_STANDALONE and its siblings are set to what the job was given."""
    env = safe("PET_STANDALONE=1 PET_NNODES=2 torchrun --nproc_per_node 4 t.py").env

    assert (env["PET_STANDALONE"], env["PET_NNODES"]) == ("0", "1:1")
    assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("127.0.0.1", "31007")


def test_a_launcher_out_of_sight_takes_a_port_of_its_own(safe):
    """Inside a script that Berth cannot see, torchrun and accelerate pick a free port."""
    assert safe("bash run.sh").env["PET_STANDALONE"] == "1"
    assert safe("./run.sh").env["PET_STANDALONE"] == "1"


def test_python_runs_in_the_jobs_environment(safe):
    """A bare `python` is the job's interpreter, a path is left alone."""
    made = safe("CUDA_VISIBLE_DEVICES=4 python3 -u train.py --x")

    assert made.argv == ("/envs/twin/bin/python", "-u", "train.py", "--x")
    assert safe("/opt/py/bin/python3.11 t.py").argv[0] == "/opt/py/bin/python3.11"


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("--gpu_ids 4,5,6,7", "--gpu_ids 2,3,6,7"),
        ("--gpu_ids=0,1", "--gpu_ids=2,3,6,7"),
        ("--gpu_ids 4 5 6 7 --lr 1", "--gpu_ids 2 3 6 7 --lr 1"),
        ("--max_gpus 8", "--max_gpus 4"),
        ("--max_gpus=8", "--max_gpus=4"),
        ("--gpu_ids_file x --my_gpu_ids 3", "--gpu_ids_file x --my_gpu_ids 3"),
        ("--gpu_ids --lr 1", "--gpu_ids --lr 1"),
    ],
)
@pytest.mark.parametrize(
    "launch", ["python", "torchrun --nproc_per_node 4", "accelerate launch", "deepspeed"]
)
def test_a_scripts_own_gpu_flags_follow_the_lease(safe, launch, written, becomes):
    """--gpu_ids and --max_gpus of the script are pointed at the leased GPUs, others are not."""
    argv = safe(f"{launch} train.py {written}").argv

    assert argv[argv.index("train.py") + 1 :] == tuple(becomes.split())


def test_assignments_become_environment(safe):
    """Assignments before the program are kept, except those that Berth decides."""
    made = safe("CUDA_VISIBLE_DEVICES=4 MASTER_PORT=29501 TOKENIZERS_PARALLELISM=false python t.py")

    assert made.env["TOKENIZERS_PARALLELISM"] == "false"
    assert made.env["MASTER_PORT"] == "31007"
    assert made.env["CUDA_VISIBLE_DEVICES"] == "2,3,6,7"
    assert {"CUDA_VISIBLE_DEVICES=4", "MASTER_PORT=29501"} <= {c.what for c in made.changes}


def test_every_change_has_a_reason_and_differs(safe):
    """A change says what was written, what runs instead, and why."""
    made = safe("nohup deepspeed --num_gpus=4 --master_addr a train.py --max_gpus 9 > l 2>&1 &")

    assert {"&", "nohup", "deepspeed", "--num_gpus=4", "--max_gpus 9", "--master_addr a"} <= {
        change.what for change in made.changes
    }
    for change in made.changes:
        assert change.why.endswith(".")
        assert change.what != change.became


def test_the_bundled_trainer_stands_in_for_a_missing_one(safe, runtime):
    """A command whose train_deepspeed.py does not exist runs the bundled one, and says so."""
    bundled = replace(runtime, bundled_trainer="/berth/train_deepspeed.py", script_exists=False)

    assert "/berth/train_deepspeed.py" in safe("deepspeed train_deepspeed.py", with_=bundled).argv
    assert "train.py" in safe("deepspeed train.py", with_=bundled).argv
    there = replace(bundled, script_exists=True)
    assert "train_deepspeed.py" in safe("deepspeed train_deepspeed.py", with_=there).argv


def test_a_launcher_named_by_its_path_keeps_its_environment(safe):
    """/envs/other/bin/deepspeed runs with the interpreter in the same folder."""
    assert safe("/envs/other/bin/deepspeed t.py").argv[0] == "/envs/other/bin/python"
    assert safe("/home/ada/.local/bin/torchrun t.py").argv[0] == "/envs/twin/bin/python"
    assert safe("conda run -n x torchrun t.py").argv[:6] == (
        "conda", "run", "-n", "x", "python", "-m",
    )  # fmt: skip


def test_deepspeed_needs_a_gpu(safe, lease):
    """A job without GPUs cannot run deepspeed, and the refusal says so."""
    with pytest.raises(CommandError, match="gpus 1 or more"):
        safe("deepspeed t.py", on=replace(lease, indices=(), visible=()))


def test_a_job_without_gpus_keeps_its_ranks(safe, lease):
    """Torchrun on CPU starts as many ranks as it says, on a free port of its own."""
    made = safe(
        "torchrun --nproc_per_node 3 t.py", on=replace(lease, indices=(), visible=(), port=None)
    )

    assert "--nproc-per-node=3" in made.argv
    assert "--rdzv-endpoint=localhost:0" in made.argv
    assert made.env["CUDA_VISIBLE_DEVICES"] == ""


SHELL = [
    ("deepspeed --num_gpus=4 t.py > l 2>&1", "{d} t.py > l 2>&1"),
    ("deepspeed > l --num_gpus=4 t.py", "{d} t.py > l"),
    ("cd ~/x && nohup torchrun --nproc_per_node 2 t.py --a '$x' \"$y\" | tee log",
     "cd ~/x && {t} t.py --a '$x' \"$y\" | tee log"),
    ("source e/bin/activate; torchrun --nproc_per_node 2 t.py",
     "source e/bin/activate; {at} t.py"),
    ("CUDA_VISIBLE_DEVICES=0 A=1 python a.py & CUDA_VISIBLE_DEVICES=3 python b.py; wait",
     "CUDA_VISIBLE_DEVICES=2 A=1 {p} a.py & CUDA_VISIBLE_DEVICES=3 {p} b.py; wait"),
    ("export CUDA_VISIBLE_DEVICES=0,1 MASTER_PORT=29501; ./run",
     "export CUDA_VISIBLE_DEVICES=2,3,6,7 MASTER_PORT=31007; ./run"),
    ("unset CUDA_VISIBLE_DEVICES; ./run", ":; ./run"),
    ("for i in 0 1; do if true; then deepspeed --num_gpus=1 t.py $i; fi; done # deepspeed x.py",
     "for i in 0 1; do if true; then {d} t.py $i; fi; done # deepspeed x.py"),
    ('echo "$(deepspeed --num_gpus 2 t.py)" `date` deepspeed t.py | grep x',
     'echo "$(deepspeed --num_gpus 2 t.py)" `date` deepspeed t.py | grep x'),
    ("deepspeed $DS_ARGS t.py", "deepspeed $DS_ARGS --master_port=31007 t.py"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "becomes"), SHELL, ids=lambda v: str(v)[:50])
def test_launchers_inside_shell_text_are_rewritten_where_they_stand(safe, line, becomes):
    """Only the launchers' own words change; the rest of the text keeps every character."""
    python = "/envs/twin/bin/python"
    run = "-m torch.distributed.run --nproc-per-node=4 --nnodes=1 --node-rank=0 --rdzv-backend=static "
    run += "--master-addr=127.0.0.1 --master-port=31007"
    info = base64.urlsafe_b64encode(b'{"localhost": [2, 3, 6, 7]}').decode()
    launch = f"{python} -u -m deepspeed.launcher.launch --world_info={info} "
    launch += "--master_addr=127.0.0.1 --master_port=31007"

    expected = becomes.format(d=launch, t=f"{python} {run}", at=f"python {run}", p=python)
    made = safe(line)

    assert made.script == expected
    assert made.argv[-1] == expected
    assert made.launcher is Launcher.SHELL


@pytest.mark.parametrize(
    "line",
    [
        "./r.sh 2>&1 | tee t.log",
        "(python bad.py) 2>&1 | tee t.log",
        "{ ./r.sh; } | tee -a t.log",
        "make train | stdbuf -oL tee t.log",
        "uv run bad.py |& tee t.log",
        "python bad.py | ts | tee t.log",
        "for i in 1 2; do ./r.sh $i; done | /usr/bin/tee t.log",
        "if true; then false | tee t.log; fi",
    ],
)
def test_whatever_is_piped_into_tee_may_fail(safe, line):
    """The promise holds for programs that Berth does not know, groups and loops."""
    assert safe(line).argv[:4] == ("/bin/bash", "-o", "pipefail", "-c")


def test_a_failed_run_is_not_hidden_by_tee(safe):
    """`… | tee log` ends with the exit code of what is before it; `tee` as a word does not count."""
    assert safe("deepspeed t.py 2>&1 | tee log").argv[:4] == ("/bin/bash", "-o", "pipefail", "-c")
    assert safe("ls | cat").argv[:2] == ("/bin/bash", "-c")


def test_secrets_are_hidden_on_show_and_kept_in_the_command(safe):
    """The displayed command has stars for secrets; the started one has the secrets."""
    line = "HF_TOKEN=hush1 python t.py --wandb_key=hush2 --api-key hush3 --url http://ada:hush4@x/y"
    made = safe(line)
    shown = made.before + made.after + repr(made) + repr(read(line)) + str(made.changes)

    assert "hush" not in shown
    assert {"--wandb_key=hush2", "hush3", "http://ada:hush4@x/y"} <= set(made.argv)
    assert made.env["HF_TOKEN"] == "hush1"


def test_secrets_in_shell_text_are_hidden_on_show(safe):
    """The same inside a line that a shell runs, and inside a script."""
    line = "export WANDB_API_KEY=hush1; python t.py --password 'hush 2' --token=\"hush3\" | tee log"
    line += " # Bearer hushhush4"
    for made in (safe(line), safe(script=line), safe(["bash", "-c", line])):
        assert "hush" not in made.before + made.after + repr(made)
        assert "hush1" in " ".join(made.argv)


def test_what_is_no_secret_is_shown(safe):
    """Names that merely contain a telling word are not masked."""
    line = "TOKENIZERS_PARALLELISM=false python t.py --tokenizer=gemma --max_tokens 512 --monkey b"
    for made in (safe(line), safe(f"{line} | cat")):
        assert "****" not in made.before + made.after


def test_before_and_after_are_lines_that_a_shell_reads(safe):
    """Both can be pasted into a terminal."""
    made = safe("CUDA_VISIBLE_DEVICES=4 python t.py --name 'a b'")

    assert made.before == "CUDA_VISIBLE_DEVICES=4 python t.py --name 'a b'"
    assert shlex.split(made.after) == ["CUDA_VISIBLE_DEVICES=2,3,6,7", *made.argv]


def test_a_launcher_behind_a_terminal_is_confined(safe):
    """`berth shell` and `berth run --pty` start it through their own program."""
    host = "/envs/berth/bin/python -P -m berth.sessions.host --idle 0.0 -- "
    made = safe(host + "deepspeed --num_gpus=4 --master_port 29500 train.py")
    assert host in made.after
    assert "29500" not in made.after
    assert "--num_gpus=4" not in made.after
