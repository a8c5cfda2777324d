"""The flags, the ablations' names, and how the program was started."""

import json
import os
from pathlib import Path

import pytest

from berth_trainer.config.arguments import parse_arguments
from berth_trainer.config.launch_check import check_devices, check_launch, visible_gpus
from berth_trainer.data.prompt_variants import BUILT_IN, PromptVariant, choose
from berth_trainer.errors import UserError
from berth_trainer.training.application import main
from berth_trainer.training.ranks import ranks_from


def test_the_users_command_line_is_read():
    """The flags of their documents, with the one that deepspeed adds."""
    found = parse_arguments(
        [
            "--local_rank=2",
            "--config",
            "config.json",
            "--ablation_config",
            "profile_and_history",
            "--output_dir",
            "outputs/x",
            "--gpu_ids",
            "4,5,6,7",
            "--max_gpus",
            "4",
        ]
    )

    assert Path("config.json") == found.config
    assert found.ablation_config == "profile_and_history"
    assert found.gpu_ids == (4, 5, 6, 7)
    assert found.asked_gpus == 4
    assert found.resume is None


def test_dashes_and_underscores_are_the_same():
    """torch.distributed writes --local-rank, people write either."""
    assert parse_arguments(["--config", "c", "--max-steps=3", "--local-rank=0"]).max_steps == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--config c --gpu_ids 0;1", "should be GPU indices joined by commas"),
        ("--config c --gpu_ids 0,0", "names a GPU twice"),
        ("--config c --max_gpus 0", "should be 1 or more"),
        ("--config c --max_gpus four", "invalid int value"),
        ("--config c --ablaton_config x", "(did you mean --ablation_config?)"),
        ("--config c --resume --no_resume", "contradicts"),
        ("", "--config"),
    ],
)
def test_a_wrong_flag_is_one_sentence(words, sentence):
    """No usage dump, no traceback."""
    with pytest.raises(UserError) as caught:
        parse_arguments(words.split())

    assert sentence in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_the_seven_ablations_name_their_parts():
    """Every non-empty choice of profile, history and context has its name."""
    parts = {key: variant.parts for key, variant in BUILT_IN.items()}

    assert len(set(parts.values())) == 7
    assert parts["profile_and_history_and_context"] == ("profile", "history", "context")
    assert parts["history_only"] == ("history",)


def test_a_mistyped_ablation_names_the_near_one():
    """Hours of training on the wrong parts start with one letter."""
    with pytest.raises(UserError, match=r"did you mean profile_and_history\?"):
        choose("profile_and_histroy", {})


def test_the_config_files_own_ablation_wins():
    """Their config files define the seven themselves."""
    own = PromptVariant(
        "profile_only", "Only the profile", True, False, False
    )  # the flags in their order

    assert own is choose("profile_only", {"profile_only": own})
    with pytest.raises(UserError, match="uses none"):
        choose("empty", {"empty": PromptVariant("empty", "", False, False, False)})  # as above


def test_several_gpus_without_a_launcher_say_what_to_type():
    """One process cannot use several GPUs under ZeRO-3: the sentence holds both commands."""
    words = ["train.py", "--config", "my config.json", "--gpu_ids", "4,5"]

    with pytest.raises(UserError) as caught:
        check_launch(parse_arguments(words[1:]), ranks_from({}), words)

    assert (
        "`berth submit -- deepspeed --num_gpus=2 train.py --config 'my config.json'`"
        in caught.value.sentence
    )
    assert (
        "`deepspeed --include localhost:4,5 train.py --config 'my config.json'`"
        in caught.value.sentence
    )


def test_one_gpu_or_a_launcher_is_fine():
    """World size 1 needs no launcher; under a launcher the flags are checked later."""
    one = parse_arguments(["--config", "c", "--gpu_ids", "3"])
    several = parse_arguments(["--config", "c", "--max_gpus", "4"])
    launched = ranks_from({"RANK": "0", "WORLD_SIZE": "4"})

    check_launch(one, ranks_from({}), [])
    check_launch(several, launched, [])
    assert visible_gpus(one, ranks_from({}), {}) == "3"
    assert visible_gpus(one, ranks_from({}), {"BERTH_ATTEMPT": "1.1"}) is None


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (None, "4,5"),  # torchrun and accelerate leave the choice to the ranks
        ("4,5", None),
        ("2,3,4,5", "4,5"),
        ("GPU-a,GPU-b", None),
        ("", None),
    ],
)
def test_ranks_run_on_the_gpus_that_are_named(shown, expected):
    """Without it two runs with other --gpu_ids share the first GPUs of the box."""
    named = parse_arguments(["--config", "c", "--gpu_ids", "4,5"])
    variables = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    if shown is not None:
        variables["CUDA_VISIBLE_DEVICES"] = shown

    assert visible_gpus(named, ranks_from(variables), variables) == expected
    assert visible_gpus(named, ranks_from(variables), {**variables, "BERTH_ATTEMPT": "1.1"}) is None


def test_gpus_that_are_not_there_are_one_sentence():
    """Hidden by the launcher, or beyond those of the machine: CUDA's own words name no flag."""
    named = parse_arguments(["--config", "c", "--gpu_ids", "4,5"])
    variables = {"RANK": "0", "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "0,1"}
    ranks = ranks_from(variables)

    with pytest.raises(UserError, match="--include localhost:4,5"):
        visible_gpus(named, ranks, variables)
    with pytest.raises(UserError, match="2 ranks were started and 1 GPUs of --gpu_ids 4,5"):
        check_devices(named, ranks, cuda=True, seen=1, any_gpu=True)
    with pytest.raises(UserError, match="none of the GPUs of --gpu_ids 4,5 is there"):
        check_devices(named, ranks, cuda=False, seen=0, any_gpu=True)
    check_devices(named, ranks, cuda=True, seen=2, any_gpu=True)
    check_devices(named, ranks, cuda=False, seen=0, any_gpu=False)


@pytest.mark.parametrize("words", [["--gpu_ids", "4,5,6,7"], []])
def test_accelerate_without_gpus_is_told_what_it_did(words):
    """It starts one process without rank variables; whoever used a launcher is not told to use one."""
    launcher = [
        "/usr/bin/python",
        "/venv/bin/accelerate",
        "launch",
        "--num_processes=4",
        "train.py",
    ]
    argv = ["train.py", "--config", "c", *words]

    with pytest.raises(UserError, match=r"accelerate started one process instead of 4, .*`torchrun --nproc-per-node=4 train.py --config c`"):  # fmt: skip
        check_launch(parse_arguments(argv[1:]), ranks_from({}), argv, launcher)
    check_launch(parse_arguments(["--config", "c"]), ranks_from({}), argv, ["bash"])


@pytest.mark.usefixtures("started_plainly")
def test_bad_input_leaves_with_code_2_and_one_line(capsys, tmp_path):
    """The whole program, as typed: one line on stderr, nothing else."""
    assert main(["--config", str(tmp_path / "none.json")]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: --config ")


@pytest.mark.usefixtures("started_plainly")
def test_a_missing_model_is_one_sentence(capsys, workspace, tmp_path):
    """It is answered before torch is imported."""
    config = tmp_path / "config.json"
    data = workspace / "data" / "realpersonachat"
    config.write_text(f'{{"model": {{"path": "nowhere"}}, "data": {{"train_path": "{data}"}}}}')

    assert main(["--config", str(config)]) == 2
    assert "error: model.path nowhere does not exist" in capsys.readouterr().err


@pytest.mark.usefixtures("started_plainly")
def test_out_of_memory_is_explained_and_reported_to_the_queue(
    capsys, workspace, tmp_path, monkeypatch
):
    """No one is left alone with "CUDA out of memory": a sentence, failure.json, exit code 1."""
    import berth_trainer.training.session

    def run(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 12.00 GiB")

    monkeypatch.setattr(berth_trainer.training.session.Session, "run", run)
    for name in ("CUDA_VISIBLE_DEVICES", "DS_ACCELERATOR", "OMP_NUM_THREADS", "PATH",
                 "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
                 "MASTER_PORT", "HF_HUB_OFFLINE", "PYTHONWARNINGS"):  # fmt: skip
        monkeypatch.setenv(name, os.environ.get(name, ""))  # restored after the test
        if not os.environ[name]:
            monkeypatch.delenv(name)
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    config, out = workspace / "config.json", tmp_path / "out"

    assert main(["--config", str(config), "--output_dir", str(out)]) == 1

    reported = json.loads((tmp_path / "failure.json").read_text())
    assert reported["kind"] == "oom_gpu"
    assert (
        "training.batch_size to 1 and training.gradient_accumulation_steps to 2"
        in reported["sentence"]
    )
    captured = capsys.readouterr()
    assert f"error (rank 0): {reported['sentence']}" in captured.err
    assert "Traceback" not in captured.err


def test_ranks_of_one_node_among_several():
    """Launchers name it differently; all ranks counted here would want more GPUs than are here."""
    gang = {"RANK": "4", "LOCAL_RANK": "0", "WORLD_SIZE": "8"}
    assert ranks_from(gang | {"LOCAL_SIZE": "4"}).local_world_size == 4
    assert ranks_from(gang | {"LOCAL_WORLD_SIZE": "2"}).local_world_size == 2
    assert ranks_from(gang).local_world_size == 8
