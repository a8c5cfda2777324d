"""Only whole checkpoints are resumed from, and the last good one is never deleted."""

import json

import pytest

from berth_trainer.checkpoint import checkpoints, run_state
from berth_trainer.checkpoint.resume import cut_metrics, decide, same_step
from berth_trainer.config.arguments import parse_arguments
from berth_trainer.config.settings import TrainingSettings
from berth_trainer.errors import UserError


def save(output, step, *, ranks=2, whole=True, batch=None):
    """The files of HF's Trainer and DeepSpeed, then Berth's record."""
    path = output / f"checkpoint-{step}"
    shards = path / f"global_step{step}"
    shards.mkdir(parents=True)
    (path / "latest").write_text(shards.name)
    (path / "trainer_state.json").write_text("{}")
    for rank in range(ranks):
        (shards / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").write_bytes(b"x" * 100)
        (path / f"rng_state_{rank}.pth").write_bytes(b"y")
    if whole:
        checkpoints.record(path, step=step, world_size=ranks, batch=batch)
    return path


def steps(output):
    return sorted(
        int(path.name.removeprefix("checkpoint-")) for path in output.glob("checkpoint-*")
    )


def beginning(output, *words, attempt=None, world_size=2, **training):
    arguments = parse_arguments(["--config", "c", *words])
    found = decide(arguments, output, attempt=attempt, world_size=world_size)
    return same_step(found, TrainingSettings(**training), world_size)


def test_a_whole_checkpoint_is_recognised(tmp_path):
    """The record names every file with its size."""
    path = save(tmp_path, 10)

    assert checkpoints.inspect(path).flaw is None
    assert checkpoints.world_size_of(path) == 2
    assert "trainer_state.json" in json.loads((path / checkpoints.RECORD).read_text())["files"]


@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (lambda p: (p / checkpoints.RECORD).unlink(), "its saving was cut short"),
        (lambda p: (p / checkpoints.RECORD).write_text("{"), "cannot be read"),
        (lambda p: (p / "trainer_state.json").unlink(), "it lacks trainer_state.json"),
        (lambda p: next(p.glob("*/*.pt")).write_bytes(b""), "is 0 bytes, not 100"),
        (lambda p: next(p.glob("*/*.pt")).unlink(), "it lacks global_step10/"),
    ],
)
def test_every_kind_of_damage_is_seen(tmp_path, damage, flaw):
    """A cut saving, a lost file, a file cut short."""
    path = save(tmp_path, 10)
    damage(path)

    assert flaw in (checkpoints.inspect(path).flaw or "")


@pytest.mark.parametrize("lacking", ["latest", "trainer_state.json", "rng_state_1.pth"])
def test_an_incomplete_saving_is_not_declared_whole(tmp_path, lacking):
    """The record is refused where a part that every resume needs is not there."""
    path = save(tmp_path, 10, whole=False)
    (path / lacking).unlink()

    with pytest.raises(RuntimeError, match="is incomplete"):
        checkpoints.record(path, step=10, world_size=2)


def test_resume_falls_back_to_the_newest_whole_checkpoint(tmp_path):
    """With a sentence for what was passed over."""
    save(tmp_path, 10)
    good = save(tmp_path, 20)
    save(tmp_path, 30, whole=False)

    found = beginning(tmp_path, "--resume")

    assert good == found.checkpoint
    assert (
        found.notes[0] == "checkpoint-30 is incomplete (its saving was cut short) and is not used."
    )
    assert f"resuming from {good} (step 20)." == found.notes[1]


def test_a_later_attempt_of_a_job_resumes_by_itself(tmp_path):
    """A requeued job goes on where it was; a first attempt starts again."""
    good = save(tmp_path, 20)

    assert good == beginning(tmp_path, attempt="42.2").checkpoint
    assert beginning(tmp_path, "--no_resume", attempt="42.2").checkpoint is None
    assert beginning(tmp_path, attempt="42.1").checkpoint is None
    assert beginning(tmp_path).checkpoint is None


def test_a_new_run_sets_an_earlier_runs_checkpoints_aside(tmp_path):
    """Neither mixed with nor deleted."""
    save(tmp_path, 20)
    found = beginning(tmp_path)

    assert found.set_aside
    assert "--resume continues from them" in found.notes[0]
    aside = run_state.set_aside(tmp_path)
    assert steps(aside) == [20]
    assert steps(tmp_path) == []
    assert run_state.set_aside(tmp_path) is None
    save(tmp_path, 5)
    assert aside != run_state.set_aside(tmp_path)


def test_resume_without_a_whole_checkpoint_starts_from_the_beginning(tmp_path):
    """The first attempt may have died before its first checkpoint."""
    assert beginning(tmp_path, "--resume").checkpoint is None
    save(tmp_path, 10, whole=False)

    found = beginning(tmp_path, attempt="42.2")
    assert found.checkpoint is None
    assert found.set_aside
    assert "starts from the beginning" in found.notes[-1]


@pytest.mark.parametrize(
    ("ranks", "batch", "kept"),
    [
        (2, {"gradient_accumulation_steps": 4}, None),
        (1, {"gradient_accumulation_steps": 4}, 8),
        (4, {"gradient_accumulation_steps": 4}, 2),
        (8, {"gradient_accumulation_steps": 4}, 1),
        # Half the batch and twice the accumulation is the same will; another product is another.
        (4, {"batch_size": 2, "gradient_accumulation_steps": 2}, 1),
        (4, {"gradient_accumulation_steps": 3}, None),
    ],
)
def test_another_number_of_ranks_keeps_the_samples_of_a_step(tmp_path, ranks, batch, kept):
    """By the accumulation, and a sentence says so; what the user changed since then stays."""
    save(tmp_path, 10, batch=checkpoints.Batch(samples=8, configured=4))

    found = beginning(tmp_path, "--resume", world_size=ranks, **batch)

    assert found.accumulation == kept
    assert found.converted == (ranks != 2)
    assert any("as before" in line for line in found.notes) == (kept is not None)


def test_the_samples_of_a_step_stay_through_two_changes(tmp_path):
    """After 2 ranks and then 4 the checkpoint is one of 4 ranks; the step is still that of 2."""
    save(tmp_path, 10, ranks=4, batch=checkpoints.Batch(samples=8, configured=4))

    found = beginning(tmp_path, "--resume", world_size=4, gradient_accumulation_steps=4)

    assert (found.accumulation, found.converted) == (2, False)


def test_ranks_that_cannot_share_a_step_are_refused_with_those_that_can(tmp_path):
    """Eight samples a step are no whole number for three ranks."""
    save(tmp_path, 10, batch=checkpoints.Batch(samples=8, configured=4))

    with pytest.raises(UserError, match=r"8 samples a step, which 3 ranks .* use 1, 2, 4, 8 GPUs"):
        beginning(tmp_path, "--resume", world_size=3, gradient_accumulation_steps=4)


def test_a_named_checkpoint_is_checked_too(tmp_path):
    """One that a plain Trainer wrote has no record and is judged by its parts."""
    foreign = save(tmp_path, 10, whole=False)
    assert foreign == beginning(tmp_path, "--resume_from_checkpoint", str(foreign)).checkpoint

    (foreign / "latest").unlink()
    with pytest.raises(UserError, match="is incomplete"):
        beginning(tmp_path, "--resume_from_checkpoint", str(foreign))
    with pytest.raises(UserError, match="is not a folder"):
        beginning(tmp_path, "--resume_from_checkpoint", str(tmp_path / "none"))


def test_rotation_keeps_the_newest_and_the_best(tmp_path):
    """And sweeps away half-written ones that are older than a whole one."""
    for step in (10, 20, 40, 50):
        save(tmp_path, step)
    save(tmp_path, 30, whole=False)

    checkpoints.rotate(tmp_path, keep=2, best=tmp_path / "checkpoint-10")

    assert steps(tmp_path) == [10, 40, 50]


def test_rotation_never_deletes_the_last_good_one(tmp_path):
    """A half-written newer one does not count, and without a whole one nothing goes."""
    save(tmp_path, 10)
    save(tmp_path, 20, whole=False)
    save(tmp_path, 30, whole=False)

    assert checkpoints.rotate(tmp_path, keep=1, best=None) == []
    (tmp_path / "checkpoint-10" / checkpoints.RECORD).unlink()
    assert checkpoints.rotate(tmp_path, keep=1, best=None) == []
    assert steps(tmp_path) == [10, 20, 30]


def test_metrics_after_the_checkpoint_are_dropped(tmp_path):
    """The resumed run writes those steps again; a cut last line goes too."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')

    cut_metrics(path, 2)

    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
