"""The smaller parts of a run: DeepSpeed's file, environment, metrics, failures, signals."""

import errno
import json
import logging
import math
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from transformers import Gemma3TextConfig

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.checkpoint.output_paths import make_writable
from berth_trainer.config import deepspeed_config, training_arguments
from berth_trainer.config.environment import concerns_the_user, plain_architectures, prepare
from berth_trainer.config.settings import DeepSpeedSettings, TrainingSettings
from berth_trainer.errors import UserError
from berth_trainer.memory import apply
from berth_trainer.model.hardware import Hardware
from berth_trainer.outcome import schedule_check
from berth_trainer.training import failures, session, session_data
from berth_trainer.training.callbacks import MetricLines, StopWithCheckpoint, log_line
from berth_trainer.training.checklist import Check, report
from berth_trainer.training.evaluation import shares
from berth_trainer.training.metrics import MetricsFile, perplexity
from berth_trainer.training.ranks import ranks_from, warn
from berth_trainer.training.stop_signals import NOTHING, SAVE, STOP, StopSignals, mark_stopped

SHARED = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)


@pytest.mark.parametrize("cuda", [True, False])
def test_every_shared_key_of_the_deepspeed_file_is_auto(cuda):
    """Two sources for one number end in an assertion that no one can read."""
    config = deepspeed_config.build(DeepSpeedSettings(), cuda=cuda, cpu_adam=cuda)

    assert {"auto"} == {config[key] for key in SHARED}
    assert config["bf16"]["enabled"] == "auto"
    zero = config["zero_optimization"]
    assert {"device": "cpu", "pin_memory": cuda} == zero["offload_optimizer"]
    assert {"device": "cpu", "pin_memory": cuda} == zero["offload_param"]
    assert zero["stage3_gather_16bit_weights_on_model_save"]
    assert "optimizer" not in config


def test_offload_and_stage_are_as_configured():
    """Parameters can be offloaded at stage 3 alone."""
    none = DeepSpeedSettings(offload_optimizer="none", offload_param="none")
    two = DeepSpeedSettings(stage=2)

    assert not {"offload_optimizer", "offload_param"} & set(
        deepspeed_config.build(none, cuda=True, cpu_adam=True)["zero_optimization"]
    )
    assert "offload_param" not in deepspeed_config.build(two, cuda=True, cpu_adam=True)["zero_optimization"]  # fmt: skip


def test_the_deepspeed_file_lies_where_users_look(tmp_path):
    """`deepspeed_config/ds_config_zero3.json` in the output folder, without half-written files next to it."""
    path = deepspeed_config.write(tmp_path, 3, {"a": 1})

    assert tmp_path / "deepspeed_config" / "ds_config_zero3.json" == path
    assert json.loads(path.read_text()) == {"a": 1}
    assert [path] == list(path.parent.iterdir())


def test_the_environment_is_made_fit():
    """Threads share the cores, foreign accelerate settings go, ninja is found, 9.0a is 9.0."""
    given = {
        "ACCELERATE_MIXED_PRECISION": "fp16", "TORCH_CUDA_ARCH_LIST": "8.0;9.0a+PTX",
        "BERTH_DEVICES": "simulated", "CUDA_VISIBLE_DEVICES": "4,5",
        "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1",
    }  # fmt: skip

    prepare(given, ranks_from(given), cores=2)
    prepare(given, ranks_from(given), cores=2)

    assert "ACCELERATE_MIXED_PRECISION" not in given
    assert given["TORCH_CUDA_ARCH_LIST"] == "8.0;9.0+PTX"
    assert given["OMP_NUM_THREADS"] == "1"
    assert (given["DS_ACCELERATOR"], given["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
    assert "MASTER_PORT" not in given
    assert plain_architectures("7.5;9.0") == "7.5;9.0"


def test_a_process_without_launcher_is_a_world_of_one():
    """It gets a port of its own: two of them may run on one box."""
    given: dict[str, str] = {}

    prepare(given, ranks_from(given), cores=8)

    assert (given["RANK"], given["WORLD_SIZE"]) == ("0", "1")
    assert int(given["MASTER_PORT"]) > 0
    assert given["OMP_NUM_THREADS"] == "8"


def test_metrics_are_lines_of_numbers_in_both_folders(tmp_path):
    """Values that are not finite are left out: strict JSON readers refuse NaN."""
    folders = [tmp_path / "run", tmp_path / "output"]
    MetricsFile(folders).write(3, {"loss": 1.5, "grad_norm": math.nan})
    MetricsFile(folders).write(4, {"loss": 1.25, "perplexity": math.inf})

    for folder in folders:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [3, 4]
        assert [line["loss"] for line in lines] == [1.5, 1.25]
        assert {"step", "time", "loss"} == set(lines[0])
        assert lines[0]["time"] > 1e9


def test_perplexity_of_a_hopeless_loss_is_infinite():
    """Not an OverflowError in mid-run."""
    assert math.isclose(perplexity(math.log(20)), 20)
    assert perplexity(1000) == math.inf


@pytest.mark.parametrize("count", [1, 5, 8, 17])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_every_held_out_sample_is_counted_once(count, world_size):
    """On any number of ranks, with equally many batches on each: none waits for another."""
    every = [
        shares(count, rank=rank, world_size=world_size, batch_size=2) for rank in range(world_size)
    ]

    assert len({tuple(map(len, batches)) for batches in every}) == 1
    found = [i for batches in every for batch in batches for i in batch if i is not None]
    assert sorted(found) == list(range(count))


def test_out_of_memory_names_the_next_knob(settings_of, tmp_path):
    """The batch is halved and the accumulation doubled: the global batch stays."""
    settings = settings_of(training={"batch_size": 4, "gradient_accumulation_steps": 2})
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    failure = failures.diagnose(error, settings)

    assert failure is not None
    assert failure.kind == "oom_gpu"
    assert "training.batch_size to 2 and training.gradient_accumulation_steps to 4" in failure.sentence  # fmt: skip
    failures.note(failure, str(tmp_path))
    failures.note(failures.Failure("oom_host", "later"), str(tmp_path))
    assert {"kind": "oom_gpu", "sentence": failure.sentence} == json.loads(
        (tmp_path / "failure.json").read_text()
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (type("OutOfMemoryError", (RuntimeError,), {})("x"), "oom_gpu"),
        (RuntimeError("CUDA error: out of memory"), "oom_gpu"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (
            RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
            "disk_full",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (MemoryError(), "oom_host"),
        (ValueError("something else"), None),
    ],
)
def test_failures_are_recognised(settings_of, error, kind):
    """By what torch and the system say, in the words the queue knows."""
    failure = failures.diagnose(error, settings_of())

    assert kind == (failure.kind if failure else None)


def test_signals_become_wishes_and_are_given_back():
    """TERM after USR1 wins; USR1 after TERM does not weaken it."""
    signals = StopSignals()
    before = signal.getsignal(signal.SIGTERM)
    signals.install()
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert (signals.wish, signals.received) == (SAVE, "SIGUSR1")
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert (signals.wish, signals.received) == (STOP, "SIGTERM")
        assert signals.agree("cpu") == STOP
        assert signals.agree("cpu") == NOTHING
        assert signals.stopped
    finally:
        signals.restore()
    assert before == signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize(("wish", "saves", "stops"), [(NOTHING, 0, 0), (SAVE, 1, 0), (STOP, 1, 1)])
def test_a_wish_is_done_at_the_end_of_a_step(wish, saves, stops):
    """A warning saves and goes on; a stop saves and ends."""
    signals = StopSignals(wish=wish)
    control = SimpleNamespace(should_save=False, should_training_stop=False, should_evaluate=True)

    StopWithCheckpoint(signals, None, last_saving=lambda: None).on_step_end(
        SimpleNamespace(device="cpu"), SimpleNamespace(global_step=3), control
    )

    assert (saves, stops) == (control.should_save, control.should_training_stop)


def test_a_number_that_json_has_no_word_for_is_null(tmp_path):
    """NaN and Infinity are refused by strict readers, wherever in the file they stand."""
    write_json(tmp_path / "a.json", {"a": [math.nan, {"b": math.inf}], "c": (1.5, -math.inf)})

    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == {
        "a": [None, {"b": None}], "c": [1.5, None],
    }  # fmt: skip


TWO = """
import sys
from torch import distributed
from berth_trainer.training.stop_signals import STOP, StopSignals
rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
signals = StopSignals()
if rank:
    signals.wish, signals.received = STOP, "SIGTERM"
assert signals.agree("cpu") == STOP
print(signals.received)
"""


def test_the_marker_names_the_signal_that_another_rank_had(tmp_path):
    """Rank 0 writes it, and the signal may have reached rank 1 alone."""
    ranks = [
        subprocess.Popen([sys.executable, "-c", TWO, str(rank), tmp_path / "meeting"],
                         stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]  # fmt: skip

    assert [rank.communicate(timeout=100)[0].strip() for rank in ranks] == ["SIGTERM"] * 2


@pytest.mark.parametrize(("answers", "ends"), [([0, 0], True), ([0, 3], False), ([2, 3], False)])
def test_samples_without_a_token_to_learn_are_told(capsys, monkeypatch, answers, ends):
    """A run over nothing but cut answers has no loss, and would end as any other."""
    monkeypatch.delenv("RANK", raising=False)
    samples = [{"labels": [-100] * 4 + [1] * count} for count in answers]

    if ends:
        with pytest.raises(UserError, match="no training sample has a token to learn"):
            session_data.check_labels(samples, 32)
        return
    session_data.check_labels(samples, 32)
    assert ("1 of 2 training samples have no token" in capsys.readouterr().err) == (0 in answers)


@pytest.mark.parametrize(
    ("warmup", "scheduler", "steps", "said"),
    [
        (100, "linear", 6, "is not shorter than the run of 6 steps"),
        (100, "cosine", 105, "takes most of the run's 105 steps"),
        (100, "linear", 1000, ""),
        (100, "constant", 6, ""),
        (0, "linear", 1, ""),
    ],
)
def test_a_warm_up_that_takes_the_run_is_warned_of(warmup, scheduler, steps, said):
    """The learning rate that was asked for is then reached late or never."""
    sentence = schedule_check.warm_up_sentence(warmup, scheduler, steps)

    assert said in sentence
    assert bool(said) == bool(sentence)


def test_a_stop_leaves_a_marker_everywhere(tmp_path):
    """The launcher's exit code does not tell a stop from a crash; the marker does."""
    mark_stopped([tmp_path / "a", tmp_path / "b"], step=7, checkpoint=tmp_path, by="SIGTERM")

    for name in "ab":
        reported = json.loads((tmp_path / name / "stopped.json").read_text())
        assert {"step": 7, "checkpoint": str(tmp_path), "signal": "SIGTERM"} == reported


def test_the_checklist_shows_and_keeps_what_is_not_as_asked(tmp_path, capsys, monkeypatch):
    """A mismatch is a cross, a warning, and `ok: false` in checklist.json."""
    monkeypatch.delenv("RANK", raising=False)
    report([Check("ZeRO stage", "3", "3"), Check("GPUs", "4", "2"), Check("attention", "", "sdpa")], tmp_path)  # fmt: skip

    captured = capsys.readouterr()
    assert "✓ ZeRO stage: 3\n" in captured.out
    assert "✗ GPUs: 2, asked for 4\n" in captured.out
    assert "warning: GPUs is 2, but 4 was asked for." in captured.err
    kept = json.loads((tmp_path / "checklist.json").read_text())["checks"]
    assert [check["ok"] for check in kept] == [True, False, True]


@pytest.mark.parametrize(
    ("patience", "saving", "expected"), [(0, 500, 500), (2, 500, 600), (2, 600, 600), (2, 0, 0)]
)
def test_checkpoints_fall_on_evaluations_where_the_best_is_kept(patience, saving, expected):
    """Early stopping goes back to the best evaluation, so there must be a checkpoint of it."""
    settings = TrainingSettings(early_stopping_patience=patience, eval_steps=200, save_steps=saving)

    assert expected == training_arguments.save_steps(settings)


def test_log_lines_are_for_people():
    """One line a step, one an evaluation, none for the summary at the end."""
    assert (
        log_line(2, 9, {"loss": 1.5, "learning_rate": 1e-5, "tokens_per_s": 12345.0})
        == "step 2/9  loss 1.5000  lr 1.00e-05  12,345 tokens/s"
    )
    assert "evaluation: loss 1.0000, perplexity 2.72" in log_line(
        2, 9, {"eval_loss": 1.0, "eval_perplexity": math.e}
    )
    assert log_line(9, 9, {"train_runtime": 3.0}) == ""


@pytest.mark.parametrize(
    ("logs", "reported"),
    [
        ({"loss": math.nan, "grad_norm": 1.0}, "the loss at step 7 is not a finite number"),
        ({"loss": 2.0, "grad_norm": math.inf}, "the gradient's norm at step 7"),
        ({"eval_loss": math.inf}, "the evaluation loss at step 7"),
    ],
)
def test_a_diverged_run_is_warned_of_once(tmp_path, capsys, monkeypatch, logs, reported):
    """It would go on to its end and leave a model that looks like any other."""
    monkeypatch.delenv("RANK", raising=False)
    lines = MetricLines(MetricsFile([tmp_path]), vocabulary=None)
    state = SimpleNamespace(global_step=7, max_steps=9)
    lines.on_log(None, state, None, logs={"loss": 2.0, "grad_norm": 1.0})
    assert capsys.readouterr().err == ""

    lines.on_log(None, state, None, logs=logs)
    lines.on_log(None, state, None, logs=logs)

    said = capsys.readouterr().err
    assert said.count(reported) == 1
    assert "lower training.learning_rate" in said


def test_an_output_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    """Before a model is loaded for it, with the flag that chooses another."""
    (tmp_path / "file").write_text("")

    with pytest.raises(
        UserError, match=r"file/out cannot be written \(Not a directory\).*--output_dir"
    ):
        make_writable(tmp_path / "file" / "out")

    make_writable(tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out").is_dir()


def test_transformers_keeps_its_bars_and_reports_out_of_a_log(workspace):
    """A user cannot act on them; what matters of the report is said in the trainer's own words."""
    script = (
        "from berth_trainer.config.environment import quieten_transformers; quieten_transformers()\n"
        "from transformers import AutoModelForCausalLM as Auto, AutoConfig\n"
        f"config = AutoConfig.from_pretrained({str(workspace / 'model')!r})\n"
        "config.tie_word_embeddings = False\n"
        f"Auto.from_pretrained({str(workspace / 'model')!r}, config=config)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stderr == ""


def test_a_warning_next_to_a_progress_bar_has_a_line_of_its_own(capsys, monkeypatch):
    """Glued to the bar it would scroll away with it."""
    from tqdm import tqdm

    monkeypatch.delenv("RANK", raising=False)
    with tqdm(total=2):
        warn("look here.")

    assert "warning: look here." in capsys.readouterr().err.replace("\r", "\n").splitlines()


@pytest.mark.parametrize(
    ("training", "asked"),
    [
        ({"gradient_checkpointing": False}, "off"),
        ({}, "on"),
        ({"checkpoint_layers": 2}, "partly on"),
        ({"checkpoint_layers": 3}, "on"),
        ({"checkpoint_layers": 9}, "on"),
    ],
)
def test_as_many_recomputed_layers_as_there_are_is_all_of_them(settings_of, training, asked):
    """The checklist would call a run wrong that is as asked."""
    config = Gemma3TextConfig(num_hidden_layers=3)

    assert asked == session.recomputing(settings_of(training=training), config)


def test_accumulation_is_not_warned_of(caplog):
    """Accelerate tells of its own value, which no one set; any other word of it passes."""
    logger = logging.getLogger("accelerate.accelerator")
    logger.addFilter(concerns_the_user)

    logger.warning("[RANK 0] Gradient accumulation steps mismatch: 1 and 4.")
    logger.warning("something else")

    logger.removeFilter(concerns_the_user)
    assert [record.getMessage() for record in caplog.records] == ["something else"]


def test_ctrl_c_before_the_first_step_is_quiet(trainer_script, tuned, tmp_path):
    """There is nothing to save, and a traceback would tell nothing: it ends as by TERM."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-X", "importtime", trainer_script, "--config", tuned()],
            cwd=tmp_path, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        while not re.search(r"\| +torch\n", log.read_text()):
            assert run.poll() is None, log.read_text()
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)

        assert run.wait(60) == -signal.SIGINT
    assert "Traceback" not in log.read_text()


def test_bf16_states_on_the_host_without_cpu_adam_are_one_sentence(settings_of):
    """DeepSpeed asserts it after the model was loaded; elsewhere the states may be as they like."""
    cpu = Hardware(cuda=False, precision="bf16", attention="auto", cpu_adam=False)
    alone = ranks_from({})
    states = {"optimizer_states": "bf16"}

    with pytest.raises(UserError, match="offload_optimizer to none, or the states to fp32"):
        apply.apply_plan(settings_of(training=states), Gemma3TextConfig(), cpu, alone)

    kept = settings_of(training=states, deepspeed={"offload_optimizer": "none"})
    assert apply.apply_plan(kept, Gemma3TextConfig(), cpu, alone) == (kept, None)
