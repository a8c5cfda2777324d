"""Launchers that choose their own ranks: the count is read, the lease wins, nothing is silent."""

from __future__ import annotations

import subprocess

import pytest

from berth.commands import CommandError, LeaseFacts, Surroundings, read, rewrite
from berth.commands.hints import in_code
from berth.commands.launchers import registry
from berth.protocol.states import Launcher

TRL_PORT = (
    "--num_machines=1 --machine_rank=0 --main_process_ip=127.0.0.1 --main_process_port=31007 "
    "--rdzv_backend=static"
)
TRL_RANKS = "--num_processes=4 --gpu_ids=all"
OWN_CONFIG = "--config_file=/berth/accelerate.yaml"
ACCELERATE = f"--num_processes=4 --num_machines=1 --gpu_ids=all {TRL_PORT.split(' ', 1)[1]}"
TORCHRUN = (
    "--nproc-per-node=4 --nnodes=1 --node-rank=0 --rdzv-backend=static "
    "--master-addr=127.0.0.1 --master-port=31007"
)

CALLS = [
    # command, launcher, GPUs, started as (without CUDA_VISIBLE_DEVICES)
    ("NPROC_PER_NODE=2 llamafactory-cli train x.yaml", "llamafactory", 2,
     "NPROC_PER_NODE=4 FORCE_TORCHRUN=1 llamafactory-cli train x.yaml"),
    ("lmf train x.yaml", "llamafactory", None,
     "NPROC_PER_NODE=4 FORCE_TORCHRUN=1 lmf train x.yaml"),
    ("axolotl train x.yaml --num-processes 2 --seed 1", "axolotl", 2,
     f"axolotl train x.yaml --seed 1 -- {OWN_CONFIG} {ACCELERATE} --multi_gpu"),
    ("axolotl train x.yaml -- --num_processes=2 --use_fsdp", "axolotl", 2,
     f"axolotl train x.yaml -- {OWN_CONFIG} {ACCELERATE} --use_fsdp"),
    ("axolotl train x.yaml --launcher torchrun -- --nproc_per_node=2 --standalone", "axolotl", 2,
     f"axolotl train x.yaml --launcher torchrun -- {TORCHRUN}"),
    ("axolotl train x.yaml --launcher python", "axolotl", None,
     "axolotl train x.yaml --launcher python"),
    ("tune run --nproc_per_node 2 full_finetune_distributed --config c x=1", "torchtune", 2,
     "tune run --nproc_per_node=4 full_finetune_distributed --config c x=1"),
    ("tune run --nproc_per_node 2 --rdzv_endpoint localhost:29500 r --config c", "torchtune", 2,
     "tune run --nproc_per_node=4 r --config c"),
    ("tune run lora_finetune_single_device --config c", "torchtune", None,
     "tune run lora_finetune_single_device --config c"),
    ("trl sft --model_name_or_path m --num_processes 2 --gpu_ids 0,1", "trl", 2,
     f"trl sft --model_name_or_path m {OWN_CONFIG} {TRL_RANKS} {TRL_PORT} --multi_gpu"),
    ("trl dpo --accelerate_config zero3 --num_processes=2 --main_process_port 29501", "trl", 2,
     f"trl dpo --accelerate_config zero3 --num_processes=4 --gpu_ids=all {TRL_PORT}"),
    ("trl vllm-serve --model m --tensor_parallel_size 2 --data_parallel_size 2", "trl", 4,
     "trl vllm-serve --model m --tensor_parallel_size 2 --data_parallel_size 2"),
    ("fabric run --devices=2 --accelerator=cuda x.py --lr 1", "fabric", 2,
     "fabric run --devices=4 --main-port=31007 --accelerator=cuda x.py --lr 1"),
    ("fabric run x.py --devices 0,1 --main_port 29401", "fabric", 2,
     "fabric run --devices=4 --main-port=31007 x.py"),
    ("fabric run --devices auto x.py", "fabric", 1,
     "fabric run --devices=4 --main-port=31007 x.py"),
    ("composer -n 2 x.py --lr 1", "composer", 2,
     "composer -n 4 --world_size=4 --master_addr=127.0.0.1 --master_port=31007 x.py --lr 1"),
    ("composer x.py", "composer", None,
     "composer -n 4 --world_size=4 --master_addr=127.0.0.1 --master_port=31007 x.py"),
    ("NPROC_PER_NODE=2 swift sft --model m", "swift", 2,
     "NPROC_PER_NODE=4 NNODES=1 NODE_RANK=0 swift sft --model m"),
    ("CUDA_VISIBLE_DEVICES=0,1 swift sft --model m", "swift", 2, "swift sft --model m"),
    ("vllm serve M --tensor-parallel-size 2 -pp 2", "vllm", 4,
     "vllm serve M --tensor-parallel-size 2 -pp 2"),
    ("vllm serve M -tp 2 --data-parallel-size=2", "vllm", 4,
     "vllm serve M -tp 2 --data-parallel-size=2"),
    ("python -m sglang.launch_server --model-path m --tp 2 --dp-size 2 --base-gpu-id 4", "sglang", 4,
     "/envs/twin/bin/python -m sglang.launch_server --model-path m --tp 2 --dp-size 2"),
    ("python -m sglang.launch_server --tp-size 4 --dp 2 --enable-dp-attention", "sglang", 4,
     "/envs/twin/bin/python -m sglang.launch_server --tp-size 4 --dp 2 --enable-dp-attention"),
    ("mpirun -np 4 python train.py -n 9", "mpi", 4, "mpirun -np 4 python train.py -n 9"),
    ("mpiexec -n 2 python train.py", "mpi", 2, "mpiexec -n 2 python train.py"),
    ("horovodrun -np 4 -H localhost:4 python t.py", "horovod", 4,
     "horovodrun -np 4 -H localhost:4 python t.py"),
    ("docker run --gpus 2 img python t.py", "docker", 2,
     ("docker run --gpus '\"device=2,3,6,7\"' -e NVIDIA_VISIBLE_DEVICES=2,3,6,7 -e BERTH_ATTEMPT "
     "-e BERTH_RUN_DIR -e BERTH_JOB_ID -e MASTER_ADDR -e MASTER_PORT -e PET_STANDALONE=1 img "
     "python t.py")),
    ("ray start --head --num-gpus=2 --block", "ray", 2,
     "ray start --head --block --num-gpus=4 --port=31007"),
    ("yolo detect train data=d.yaml device=0,1 epochs=3", "ultralytics", 2,
     "yolo detect train data=d.yaml epochs=3 device=0,1,2,3"),
    ("yolo train data=d.yaml 'device=[4,5]'", "ultralytics", 2,
     "yolo train data=d.yaml device=0,1,2,3"),
    ("yolo train data=d.yaml device=-1,-1,-1,-1", "ultralytics", 4,
     "yolo train data=d.yaml device=-1,-1,-1,-1"),
    ("yolo train data=d.yaml", "ultralytics", None,
     "yolo train data=d.yaml device=0,1,2,3"),
    ("swift rollout --model m --vllm_tensor_parallel_size 2 --vllm_data_parallel_size 2", "swift", 4,
     "swift rollout --model m --vllm_tensor_parallel_size 2 --vllm_data_parallel_size 2"),
    ("NPROC_PER_NODE=2 megatron export --model m", "swift", 2,
     "NPROC_PER_NODE=4 NNODES=1 NODE_RANK=0 megatron export --model m"),
    ("colossalai run --nproc_per_node 2 --master_port 29501 x.py", "colossalai", 2,
     "colossalai run --nproc_per_node=4 --master_addr=127.0.0.1 --master_port=31007 x.py"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "launcher", "gpus", "after"), CALLS, ids=lambda v: str(v)[:50])
def test_a_launcher_says_its_number_and_is_given_the_lease(safe, line, launcher, gpus, after):
    """The number it would start is the number of GPUs; with another lease it starts that many."""
    view = read(line)

    assert (view.launcher.value, view.gpus_wanted) == (launcher, gpus)
    assert safe(line).after.removeprefix("CUDA_VISIBLE_DEVICES=2,3,6,7 ") == after


@pytest.mark.parametrize(
    ("line", "after"), [(c[0], c[3]) for c in CALLS], ids=lambda v: str(v)[:50]
)
def test_a_launcher_in_a_shell_text_is_confined_as_alone(safe, line, after):
    """`… | tee log` and scripts get the same words as the plain command."""
    done = safe(f"set -x; {line} | tee log")

    assert f"set -x; {after} | tee log" in done.script.replace("CUDA_VISIBLE_DEVICES=2,3,6,7 ", "")


def test_every_launcher_of_the_table_is_tried_here_and_elsewhere():
    """A launcher without a recorded case cannot be added."""
    tried = {launcher for _, launcher, _, _ in CALLS} | {"deepspeed", "accelerate", "torchrun"}

    assert tried == {launcher.value for launcher in registry.KNOWN}


SETTLED = [
    ("llamafactory-cli train x.yaml", "NPROC_PER_NODE=N"),
    ("axolotl train x.yaml", "-- --num_processes=N"),
    ("tune run full_finetune_distributed --config c", "--nproc_per_node=N"),
    ("trl sft --model_name_or_path m", "--num_processes=N"),
    ("composer train.py", "-n N"),
    ("swift sft --model m", "NPROC_PER_NODE=N"),
    ("mpirun python train.py", "-np N"),
    ("horovodrun python train.py", "-np N"),
    ("colossalai run train.py", "--nproc_per_node=N"),
    ("ray start --head --block", "--num-gpus=N"),
    ("deepspeed train.py", "--num_gpus=N"),
    ("accelerate launch train.py", "--num_processes=N"),
    ("torchrun --nproc-per-node=gpu train.py", "--nproc-per-node=N"),
]


@pytest.mark.parametrize(("line", "flag"), SETTLED, ids=lambda v: str(v)[:50])
@pytest.mark.parametrize("text", ["{}", "{} > log.txt", "cd sub && {}"])
def test_a_launcher_without_a_number_names_the_flag_that_settles_it(line, flag, text):
    """One GPU is never given in silence to what may start several ranks."""
    view = read(text.format(line))

    assert view.gpus_wanted is None
    assert any(flag in note and "--gpus N" in note for note in view.count_notes)
    assert set(view.count_notes) <= set(view.warnings)


UNREADABLE = [
    "CUDA_VISIBLE_DEVICES=0-3 python x.py",
    "CUDA_VISIBLE_DEVICES=all python x.py",
    "CUDA_VISIBLE_DEVICES=0-3 ./agent",
    "CUDA_VISIBLE_DEVICES=$CARDS python x.py",
    "CUDA_VISIBLE_DEVICES=$(free_gpus 2) python x.py",
    "export CUDA_VISIBLE_DEVICES=$1; python x.py",
    "while read i; do CUDA_VISIBLE_DEVICES=$i python x.py & done < list; wait",
    "seq 0 3 | xargs -P4 -I{} sh -c 'CUDA_VISIBLE_DEVICES={} python x.py'",
    "parallel -j4 CUDA_VISIBLE_DEVICES={} python x.py ::: 0 1 2 3",
    "python train.py --devices 4",
    "python train.py trainer.devices=[0,1]",
    "python -m lit.main fit --trainer.devices=4",
    "python -m verl.trainer.main_ppo trainer.n_gpus_per_node=8",
    "./my_launcher --num_gpus=4 train.py",
    "my-launcher --nproc_per_node 4 train.py > log",
]


@pytest.mark.parametrize("line", UNREADABLE)
def test_what_may_want_several_gpus_and_cannot_be_read_gets_a_note(line):
    """Something was asked for and not understood: the note says so, and how to settle it."""
    view = read(line)

    assert view.gpus_wanted is None
    assert any("--gpus N" in note for note in view.count_notes)


@pytest.mark.parametrize(
    "line",
    ["python train.py", "python train.py --devices 1", "vllm serve M", "make -j4",
     "fabric run x.py", "composer install", "ray --version", "python x.py --lr 4 --np_seed 3",
     "trl env", "llamafactory-cli webui", "tune ls", "swift --version"],
)  # fmt: skip
def test_nothing_is_said_where_one_gpu_is_right(line):
    """A note that stands everywhere is read nowhere."""
    assert read(line).count_notes == ()


LOOPS = [
    ("for i in 0 1 2 3; do CUDA_VISIBLE_DEVICES=$i wandb agent lab/p/x & done; wait", 4),
    ("for i in {0..3}\ndo\n  CUDA_VISIBLE_DEVICES=${i} python x.py --seed $i &\ndone\nwait", 4),
    ('for gpu in $(seq 0 1); do CUDA_VISIBLE_DEVICES="$gpu" ./agent & done; wait', 2),
    ("for i in 4 5; do CUDA_VISIBLE_DEVICES=$i torchrun x.py & done; wait", 2),
    ("for i in 0 1 2 3; do CUDA_VISIBLE_DEVICES=$i python x.py; done", 1),
]


@pytest.mark.parametrize(("text", "gpus"), LOOPS, ids=lambda v: str(v)[:40])
def test_a_loop_over_gpus_says_how_many(text, gpus):
    """In the background all rounds run at once; one after the other they need one GPU."""
    assert read(text).gpus_wanted == gpus


@pytest.mark.parametrize("visible", [(2, 3, 6, 7), (0, 1, 2, 3), (2, 3)])
def test_each_round_of_a_loop_has_a_gpu_of_its_own(runtime, visible):
    """Without a fence the rounds get the leased GPUs, one each; too few are shared in turn."""
    text = "for i in 0 1 2 3; do CUDA_VISIBLE_DEVICES=$i printenv CUDA_VISIBLE_DEVICES; done"
    lease = LeaseFacts(indices=visible, visible=visible, port=31007)

    done = rewrite(read(text), lease, runtime)

    out = subprocess.run(done.argv, capture_output=True, text=True, check=True).stdout.split()
    expected = [str(visible[place % len(visible)]) for place in range(4)]
    assert out == expected


CONFIGS = [
    ("accelerate launch --config_file z.yaml t.py", {"num_processes": 8}, 8),
    ("trl sft --config z.yaml", {"num_processes": 3}, 3),
    ("trl sft --config z.yaml", {"gpu_ids": "0,1"}, 2),
    ("axolotl train a.yaml -- --config_file z.yaml", {"num_processes": 2}, 2),
    ("swift sft z.yaml", {"ENV": {"NPROC_PER_NODE": 4}}, 4),
    ("vllm serve --config z.yaml", {"tensor-parallel-size": 2, "data_parallel_size": 2}, 4),
    ("torchrun run_train.py --config-file z.yaml", {"parallelism": {"dp": 2, "pp": 1, "tp": 2}}, 4),
    ("accelerate launch --num_processes 2 --config_file z.yaml t.py", {"num_processes": 8}, 2),
    ("NPROC_PER_NODE=2 swift sft z.yaml", {"ENV": {"NPROC_PER_NODE": 4}}, 2),
]


@pytest.mark.parametrize(("line", "content", "gpus"), CONFIGS, ids=lambda v: str(v)[:40])
def test_a_launchers_own_file_says_the_number(line, content, gpus):
    """The file is named by a first reading; its content counts where the flags say nothing."""
    assert "z.yaml" in read(line).config_files

    view = read(line, None, Surroundings(configs={"z.yaml": content}))

    assert view.gpus_wanted == gpus
    assert not view.count_notes


def test_a_file_with_ranks_of_its_own_gives_way_to_the_lease(lease, runtime):
    """What the file would set is set before it: swift takes the environment first."""
    around = Surroundings(configs={"z.yaml": {"ENV": {"NPROC_PER_NODE": 8}}})

    done = rewrite(read("swift sft z.yaml", None, around), lease, runtime)

    assert done.env["NPROC_PER_NODE"] == "4"
    assert any(change.what == "NPROC_PER_NODE=8" for change in done.changes)


def test_trl_keeps_the_accelerate_configuration_of_its_file(lease, runtime):
    """A second --config_file would win over the one that the user's file names."""
    around = Surroundings(configs={"z.yaml": {"accelerate_config": "fsdp1"}})

    done = rewrite(read("trl sft --config z.yaml", None, around), lease, runtime)

    assert "--config_file" not in done.after
    assert "--multi_gpu" not in done.after


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("NNODES=2 llamafactory-cli train x.yaml", "NNODES=2"),
        ("fabric run --num-nodes=2 x.py", "--num-nodes=2"),
        ("composer -n 4 --world_size 8 x.py", "--world_size 8"),
        ("mpirun -np 8 -H a,b python x.py", "a,b"),
        ("colossalai run --hostfile h x.py", "--hostfile h"),
        ("trl sft --num_machines 2", "--num_machines 2"),
        ("tune run --nnodes 2 r --config c", "--nnodes 2"),
    ],
)
def test_other_machines_are_refused_by_every_launcher(line, said):
    """Only one box is there; the sentence names what to leave out."""
    with pytest.raises(CommandError, match="this box only") as refused:
        read(line)
    assert said in str(refused.value)


def test_sizes_that_do_not_fit_the_ranks_are_named_before_the_start():
    """Megatron and nanotron stop at their start; the queue says so before."""
    view = read(
        "torchrun --nproc_per_node=6 pretrain_gpt.py --tensor-model-parallel-size 4 "
        "--pipeline-model-parallel-size 2"
    )

    assert any("needs a multiple of 8" in warning for warning in view.warnings)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("trainer = L.Trainer(max_epochs=3, devices=4)", "devices=4"),
        ("Trainer(\n    accelerator='gpu',\n    devices = [0, 1],\n)", "devices = [0, 1]"),
        ("pl.Trainer(devices=-1)", "devices=-1"),
        ("Fabric(devices='auto')", "devices='auto'"),
        ("mp.spawn(main, nprocs=4)", "mp.spawn"),
        ("notebook_launcher(train, args, num_processes=4)", "notebook_launcher"),
        ("Trainer(devices=1)", None),
        ("Trainer(model=model, args=args)", None),
        ("x = dict(devices=4)", None),
    ],
)
def test_a_script_that_starts_its_own_ranks_is_noticed(code, said):
    """Lightning's Trainer(devices=4) in plain python says its number in code alone."""
    note = in_code.note("train.py", code)

    assert (note is None) == (said is None)
    assert note is None or (said in note and "--gpus N" in note)


def test_a_job_does_not_join_a_ray_that_others_started(safe):
    """ray.init() takes the last Ray of the box with its GPUs; a job's own choice stays."""
    assert safe("python train.py").env["RAY_ADDRESS"] == "local"
    assert safe("RAY_ADDRESS=10.0.0.1:6379 python train.py").env["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert "RAY_ADDRESS" not in safe("ray start --head --block").env
    assert "RAY_ADDRESS" not in safe("ray start --head && python train.py").env


def test_the_launchers_name_is_in_the_description():
    """The dry run says who starts the ranks."""
    assert all(launcher in Launcher for launcher in registry.KNOWN)
    assert {one.name for one in registry.ALL} >= {"trl", "mpirun", "swift"}
