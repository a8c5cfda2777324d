"""Counts that stand in a variable, a loop or another tool's words: read, or named in a note."""

from __future__ import annotations

import subprocess

import pytest

from berth.commands import LeaseFacts, Surroundings, read, rewrite

OPTIONS_IN_VARIABLES = [
    # text, GPUs, words of the launcher that must be gone, words that must be there
    ('N=8; A="--nproc_per_node $N --nnodes 1 --master_port 6000"; torchrun $A t.py', 8, "$A", "t.py"),
    ("A='--num_gpus 2 --master_port 29600'; deepspeed $A t.py --x 1", 2, "$A", "t.py --x 1"),
    ("N=3\nA=(\n  --nproc_per_node $N  # don't change\n  --nnodes 1\n)\ntorchrun ${A[@]} t.py", 3,
     "${A[@]}", "t.py"),
    ('A=(--nproc_per_node 2); A+=(--max_restarts 1); torchrun "${A[@]}" t.py', 2, '"${A[@]}"',
     "--max_restarts 1"),
    ('A="\n --nproc_per_node 2 \\\n --nnodes 1 \\\n"\ntorchrun $A t.py $M', 2, "$A", "t.py $M"),
    ('L="accelerate launch --num_processes 4"; $L t.py', 4, "$L ", "t.py"),
    ("A='--nproc_per_node 2'; M=(--lr 1); torchrun $A t.py ${M[@]}", 2, "$A", "t.py ${M[@]}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "gpus", "gone", "kept"), OPTIONS_IN_VARIABLES, ids=lambda v: str(v)[:40]
)
def test_options_that_a_text_puts_into_a_variable_are_read_and_rewritten(
    safe, text, gpus, gone, kept
):
    """The options of a launcher stand in a variable or an array above it, as in many scripts."""
    view, made = read(text), safe(text)
    last = (made.script or "").splitlines()[-1].rpartition(";")[2]

    assert view.gpus_wanted == gpus
    assert not view.count_notes
    assert gone not in last
    assert kept in last
    assert "31007" in last or "--num_processes=4" in last


UNSURE = [
    'if [ "$X" ]; then A="--nproc_per_node 2"; else A="--nproc_per_node 4"; fi; torchrun $A t.py',
    'test "$X" && A="--nproc_per_node 2"; torchrun $A t.py',
    'for n in 1 2; do A="--nproc_per_node $n"; done; torchrun $A t.py',
    'A="$(options)"; torchrun $A t.py',
    "A+=(--nproc_per_node 2); torchrun ${A[@]} t.py",
    "torchrun $A t.py",
]


@pytest.mark.parametrize("text", UNSURE)
def test_options_that_only_the_shell_knows_do_not_win_over_the_lease(safe, text):
    """The launcher takes the last of two equal options: Berth's stand behind the variable."""
    assert any("--nproc-per-node=N" in note for note in read(text).count_notes)

    made = safe(text).script or ""

    assert "$A --nproc-per-node=4" in made or "${A[@]} --nproc-per-node=4" in made


def test_torchrun_takes_the_lease_whatever_a_variable_holds(tmp_path, runtime):
    """The real parser of torchrun reads Berth's words, which stand last."""
    run = pytest.importorskip("torch.distributed.run")
    lease = LeaseFacts(indices=(2, 5), visible=(2, 5), port=31007)
    made = rewrite(read("torchrun $A t.py --lr 1"), lease, runtime)
    hidden = "--nproc_per_node 8 --master_port 6000 --rdzv_endpoint=localhost:1 --rdzv-backend c10d"
    words = (made.script or "").replace("$A", hidden).split()

    found = run.parse_args(words[3:])

    assert (found.nproc_per_node, found.master_port) == ("2", 31007)
    assert (found.rdzv_endpoint, found.rdzv_backend) == ("127.0.0.1:31007", "static")
    assert (found.training_script, found.training_script_args) == ("t.py", ["--lr", "1"])


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("for ((i=0;i<4;i++)); do CUDA_VISIBLE_DEVICES=$i python t.py & done; wait", 4),
        ("for (( g = 0; g <= 2; g += 1 ))\ndo\nCUDA_VISIBLE_DEVICES=$g ./a &\ndone\nwait", 3),
        ("N=2; for ((g=0; g<$N; g++)); do CUDA_VISIBLE_DEVICES=${g} python t.py & done; wait", 2),
        ("for ((i=0;i<4;i++)); do CUDA_VISIBLE_DEVICES=$i python t.py; done", 1),
    ],
)
def test_a_counted_loop_over_gpus_says_how_many(text, gpus):
    """A loop as in C is read as one over a list."""
    assert read(text).gpus_wanted == gpus


def test_each_round_of_a_counted_loop_has_a_gpu_of_its_own(runtime):
    """The rounds get the leased GPUs, one each."""
    text = "for ((i=0;i<3;i++)); do CUDA_VISIBLE_DEVICES=$i printenv CUDA_VISIBLE_DEVICES; done"
    lease = LeaseFacts(indices=(2, 3, 6), visible=(2, 3, 6), port=31007)

    done = rewrite(read(text), lease, runtime)

    out = subprocess.run(done.argv, capture_output=True, text=True, check=True).stdout.split()
    assert out == ["2", "3", "6"]


NOTED = [
    # a number that other tools' words say
    ("fairseq-train bin --distributed-world-size 8", "--distributed-world-size 8"),
    ("train-hydra distributed.world_size=4 task=x", "distributed.world_size=4"),
    ("python train.py --device 0,1,2,3", "--device 0,1,2,3"),
    ("python train.py --gpu_list 0,1", "--gpu_list 0,1"),
    ("python detect.py --gpus 0 1 2 3 --lr 1", "--gpus 0 1 2 3"),
    ("python -m rl.main --actor_num_gpus_per_node 4", "--actor_num_gpus_per_node 4"),
    ("ns-fit nerf --machine.num-devices 4", "--machine.num-devices 4"),
    ("evaluate --model vllm --args pretrained=x,tensor_parallel_size=2", "tensor_parallel_size=2"),
    ("serve-it --num-shard 4", "--num-shard 4"),
    ("torchx run dist.ddp -j 1x4 --script t.py", "-j 1x4"),
    ("GPU_NUM=4 bash train.sh", "GPU_NUM=4"),
    ("GPUS=0,1 ./train.sh", "GPUS=0,1"),
    ("export NGPU=4; ./train.sh", "NGPU=4"),
    ("make train NUM_DEVICES=4", "NUM_DEVICES=4"),
    # several at once
    ("seq 4 | xargs -P 4 -I{} python t.py --seed {}", "xargs -P 4"),
    ("ls *.yaml | xargs -n1 -P0 python t.py", "xargs -P0"),
    ("parallel -j4 python t.py --fold {} ::: 0 1 2 3", "parallel -j4"),
    ("parallel python t.py --fold {} ::: 0 1", "parallel"),
    ("for i in {0..7}; do python t.py --fold $i & done; wait", "several runs at once"),
    ("for c in *.yaml; do torchrun t.py $c & done; wait", "several runs at once"),
    ("python a.py & python b.py & wait", "several runs at once"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), NOTED, ids=lambda v: str(v)[:40])
def test_what_starts_several_or_may_want_several_is_named(line, said):
    """One GPU is not given in silence; the note names the words and the flag that settles it."""
    view = read(line)

    assert view.gpus_wanted is None
    assert any(said in note and "--gpus N" in note for note in view.count_notes)


@pytest.mark.parametrize(
    "line",
    [
        "python t.py --device cuda:0 --gpu 1",
        "python t.py --devices 0 --gpus 1",
        "python t.py --batch_size_per_gpu 8 --samples_per_gpu=4 --gpu_memory 40",
        "ls *.json | xargs -n1 python convert.py",
        "ls *.json | xargs -P8 -n1 gzip",
        "parallel -j1 python t.py ::: a b",
        "for s in 1 2 3; do python t.py --seed $s; done",
        "python serve.py & curl localhost; wait",
        "for i in 1 2; do sleep 1 & done; wait; python t.py",
        "evaluate --args pretrained=x,dtype=float16,seed=4",
        "yolo train model=x.pt data=d.yaml",
        "llamafactory-cli export --model m",
    ],
)
def test_no_note_where_one_gpu_is_right(line):
    """A note that stands everywhere is read nowhere."""
    assert read(line).count_notes == ()


def test_a_loop_of_launchers_in_the_background_is_warned_of():
    """They would meet on one port."""
    view = read("for c in a b; do torchrun --nproc_per_node=2 t.py $c & done; wait")

    assert view.gpus_wanted == 2
    assert any("several launchers at once" in warning for warning in view.warnings)


def test_llamafactory_with_ray_is_left_to_ray(safe):
    """FORCE_TORCHRUN would turn its Ray run into a run of torchrun."""
    line = "USE_RAY=1 llamafactory-cli train z.yaml"
    around = Surroundings(configs={"z.yaml": {"ray_num_workers": 4}})

    assert read(line, None, around).gpus_wanted == 4
    assert "FORCE_TORCHRUN" not in safe(line).after
