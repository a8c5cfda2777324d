"""A lab's own guide: its commands and its config, as written there, with GPUs, without, and queued."""

import shlex
import sys

import pytest

from berth.commands import LeaseFacts, Runtime, read, rewrite
from berth_trainer.config import lenient_json
from berth_trainer.config.arguments import parse_arguments
from berth_trainer.config.config_file import settings_from
from berth_trainer.config.launch_check import check_devices, check_launch, visible_gpus
from berth_trainer.errors import UserError
from berth_trainer.training.ranks import ranks_from

DIALOGUE = "Gemma/outputs/0123_Gemma_LovinkDialogue"
CHAT = "Gemma/outputs/0123_Gemma_RealPersonaChat"
WHOLE = "profile_and_history_and_context"
TRAIN = "accelerate launch --num_processes=4 Gemma/train_deepspeed.py"
PLAIN = "python train_deepspeed.py --config config.json --ablation_config profile_and_history"
GUIDE = [
    (
        f"deepspeed --num_gpus=4 Gemma/train_deepspeed.py --config config.json "
        f"--ablation_config profile_and_history --output_dir {CHAT}_{WHOLE}_1100"
    ),
    (
        f"CUDA_VISIBLE_DEVICES=0,1,2,3 {TRAIN} --config config_realpersonachat.json "
        f"--ablation_config {WHOLE} --output_dir {CHAT}_{WHOLE}_1400"
    ),
    (
        f"CUDA_VISIBLE_DEVICES=4,5,6,7 {TRAIN} --config config.json "
        f"--ablation_config {WHOLE} --output_dir {DIALOGUE}_{WHOLE}_1400"
    ),
    (
        f"{TRAIN} --config config.json --ablation_config profile_and_context "
        f"--gpu_ids 4,5,6,7 --output_dir {DIALOGUE}_profile_and_context_1400"
    ),
    (
        f"{TRAIN} --config config_realpersonachat.json --ablation_config {WHOLE} "
        f"--gpu_ids 0,1,2,3 --output_dir {CHAT}_{WHOLE}_1400"
    ),
    (
        f"{TRAIN} --config config.json --ablation_config {WHOLE} "
        f"--gpu_ids 4,5,6,7 --output_dir {DIALOGUE}_{WHOLE}_1400"
    ),
    (
        f"deepspeed --num_gpus=4 train_deepspeed.py --config config.json --ablation_config {WHOLE} "
        "--max_gpus 4"
    ),
]
ON_ACCELERATE = [line for line in GUIDE if "accelerate" in line]
CONFIG = """\
{
  "training": {
    "max_length": 2048,  // 从 4096 降低到 2048
    "batch_size": 1,
    "gradient_accumulation_steps": 4
  }
}
"""
RECOMMENDED = """\
{
  "training": {
    "batch_size": 1,
    "gradient_accumulation_steps": 4,
    "max_length": 2048,  // 或更小
    "learning_rate": 1e-5,
    "warmup_steps": 100
  }
}
"""


def split(line):
    """CUDA_VISIBLE_DEVICES as typed before the launcher, the launcher's words, the script's."""
    words = shlex.split(line)
    shown = words.pop(0).partition("=")[2] if words[0].startswith("CUDA") else None
    at = next(n for n, word in enumerate(words) if word.endswith("train_deepspeed.py"))
    return shown, words[:at], words[at:]


@pytest.mark.parametrize("line", GUIDE)
def test_without_the_queue_each_runs_on_the_gpus_that_it_names(line):
    """
    Under accelerate those of --gpu_ids behind the script's name too, which accelerate never sees;
    deepspeed's launcher itself hands out the first four.
    """
    shown, launcher, (_, *flags) = split(line)
    if launcher[0] == "deepspeed":
        shown = "0,1,2,3"
    environment = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}
    environment |= {"CUDA_VISIBLE_DEVICES": shown} if shown else {}
    arguments, ranks = parse_arguments(flags), ranks_from(environment)

    check_launch(arguments, ranks, flags, launcher)
    used = visible_gpus(arguments, ranks, environment) or shown

    assert used == ("4,5,6,7" if "4,5,6,7" in line else "0,1,2,3")


def test_plain_python_is_told_that_it_uses_one_gpu(capsys):
    """The guide's own wrong way: it trains, on one GPU; on a box with one there is nothing to say."""
    script = shlex.split(PLAIN)[1:]
    arguments, alone = parse_arguments(script[1:]), ranks_from({})

    check_launch(arguments, alone, script, ["bash"])
    check_devices(arguments, alone, cuda=True, seen=8, any_gpu=True)
    assert "this run uses one of the 8 GPUs: a launcher such as `deepspeed --num_gpus=8`" in capsys.readouterr().err  # fmt: skip
    check_devices(arguments, alone, cuda=True, seen=1, any_gpu=True)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("line", ON_ACCELERATE)
def test_accelerate_without_gpus_is_answered_with_what_to_type(line):
    """It then starts one process: nobody who used a launcher is told to use one."""
    _, launcher, script = split(line)
    parent = [sys.executable, "/venv/bin/accelerate", *launcher[1:], *script]

    with pytest.raises(UserError) as caught:
        check_launch(parse_arguments(script[1:]), ranks_from({}), script, parent)

    assert "accelerate started one process instead of 4, because it sees no GPU" in str(caught.value.sentence)  # fmt: skip
    assert f"`torchrun --nproc-per-node=4 {shlex.join(script[:5])} --output_dir" in caught.value.sentence  # fmt: skip
    assert "need a launcher" not in caught.value.sentence


@pytest.mark.parametrize("line", GUIDE)
def test_in_the_queue_each_gets_four_gpus_and_a_port_of_its_own(line):
    """Whatever GPUs it names, the ones that it was given count, and the script's flags say so."""
    lease = LeaseFacts(indices=(2, 3, 6, 7), visible=(2, 3, 6, 7), port=31007)
    found = read(None, line)
    assert found.gpus_wanted == 4

    made = rewrite(found, lease, Runtime(python="/envs/twin/bin/python", accelerate_config="a.yaml"))  # fmt: skip

    typed = " ".join(made.argv)
    assert "31007" in typed
    assert "29500" not in typed
    assert "4,5,6,7" not in typed
    assert "0,1,2,3" not in typed
    if "--gpu_ids" in split(line)[2]:
        assert "--gpu_ids 2,3,6,7" in typed


@pytest.mark.parametrize(("text", "rate", "warmup"), [(CONFIG, 2e-5, 0), (RECOMMENDED, 1e-5, 100)])
def test_its_configs_are_read_with_their_comments(tmp_path, text, rate, warmup):
    """As written, comments of any script included; nothing in them is unknown to the trainer."""
    document = lenient_json.parse(text, "config.json")
    document |= {"model": {"path": "m"}, "data": {"train_path": "d"}}

    settings = settings_from(document, source=tmp_path / "config.json")

    training = settings.training
    assert (training.max_length, training.batch_size, training.gradient_accumulation_steps) == (2048, 1, 4)  # fmt: skip
    assert (training.learning_rate, training.warmup_steps) == (rate, warmup)
    assert not settings.warnings


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_real_accelerate_without_gpus_ends_in_that_sentence(launch, trainer_script, tuned, tmp_path):  # fmt: skip
    """The line with --gpu_ids behind the script's name, typed on a machine without a GPU."""
    (tmp_path / "Gemma").mkdir()
    (tmp_path / "Gemma" / "train_deepspeed.py").symlink_to(trainer_script)
    tuned()  # writes config.json
    line = GUIDE[5]

    run = launch(shlex.split(line), cwd=tmp_path, log=tmp_path / "log", CUDA_VISIBLE_DEVICES="")

    assert run.wait() != 0
    assert run.read().count("error: accelerate started one process instead of 4") == 1
    assert "need a launcher" not in run.read()
