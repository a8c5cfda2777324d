"""Entry point of a run, from the flags to the exit code."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint import resume, run_state, universal
from berth_trainer.checkpoint.description import describe
from berth_trainer.checkpoint.folder_owner import live_owner, owned
from berth_trainer.checkpoint.output_paths import FINAL_MODEL, make_writable
from berth_trainer.config import quick_start
from berth_trainer.config.arguments import Arguments, parse_arguments
from berth_trainer.config.config_file import read_settings
from berth_trainer.config.environment import (
    prepare,
    quieten_transformers,
    quieten_warnings,
    share_the_cpu_as_equals,
    simulated,
    usable_cores,
)
from berth_trainer.config.launch_check import (
    check_devices,
    check_launch,
    parent_command,
    visible_gpus,
)
from berth_trainer.config.settings import Settings
from berth_trainer.data import prompt_variants
from berth_trainer.data.load import Material, load_material
from berth_trainer.errors import UserError
from berth_trainer.model.loading import forbid_network_for_local, load_config, model_name
from berth_trainer.training import failures, peers
from berth_trainer.training.ranks import FAILED, Ranks, leave, log0, ranks_from, tell, warn

STOPPED = 143
_FOR_RANK_0_S = 4.0


def main(argv: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """
    Run and return the exit code: 0 done, 1 failed, 2 bad input, 143 stopped and saved.

    `program` is the command that the user typed; error messages quote it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    ranks = ranks_from(os.environ)
    if simulated(os.environ):
        share_the_cpu_as_equals()
    try:
        return _run(words, ranks, program or "train_deepspeed.py")
    except UserError as problem:
        if ranks.is_main:
            tell(f"error: {problem.sentence}")
            # Launchers print messages of their own after this one: give the queue the reason directly.
            failures.note(
                failures.Failure("exit", problem.sentence), os.environ.get("BERTH_RUN_DIR")
            )
        elif ranks.world_size > 1:
            # A launcher kills all ranks as soon as one has exited: rank 0, which mostly has the
            # same to say, prints it. Where it does not, the reason is this rank's own.
            time.sleep(_FOR_RANK_0_S)
            tell(f"error (rank {ranks.rank}): {problem.sentence}")
        return problem.exit_code


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Flags, config file and corpus of a run, read and checked before torch is imported."""

    arguments: Arguments
    settings: Settings
    variant: prompt_variants.PromptVariant
    ranks: Ranks
    material: Material
    model_name: str
    output_dir: Path

    @property
    def max_steps(self) -> int:
        """Steps that flag or config file ask for; 0: the epochs decide."""
        return self.arguments.max_steps or self.settings.training.max_steps

    @cached_property
    def description(self) -> dict[str, Any]:
        """Settings from config file and flags, by key."""
        return describe(
            self.settings, self.variant, self.material, self.model_name, max_steps=self.max_steps
        )

    @property
    def trained(self) -> Path:
        """Folder of the model to predict with."""
        return self.arguments.predict_with or self.output_dir / FINAL_MODEL


def _run(words: list[str], ranks: Ranks, program: str) -> int:
    # What needs no torch comes first, so that a typo is answered at once.
    run = _read(words, ranks, program)
    if run.arguments.predict:
        _check_trained(run)
    make_writable(run.output_dir)
    with owned(run.output_dir, os.environ) if ranks.is_main else contextlib.nullcontext():
        if run.arguments.predict:
            _prepare_process(run)
            return _guarded(lambda: _predict(run), run)
        start = resume.decide(
            run.arguments,
            run.output_dir,
            attempt=os.environ.get("BERTH_ATTEMPT"),
            world_size=ranks.world_size,
        )
        start = resume.compared(start, run.description, run.arguments.allow_changed)
        with quick_start.without_unused(run.settings):
            _prepare_process(run)
            return _train(run, start)


def _read(words: list[str], ranks: Ranks, program: str) -> _Run:
    arguments = parse_arguments(words)
    settings = read_settings(arguments.config)
    for text in settings.warnings:
        warn(text)
    variant = prompt_variants.choose(arguments.ablation_config, settings.prompt_variants)
    check_launch(arguments, ranks, [program, *words], parent_command())
    name = model_name(settings)
    if not arguments.predict:
        _choose_gpus(arguments, ranks)
        gpu = None if simulated(os.environ) else ranks.local_rank
        quick_start.begin(None if ranks.local_rank else Path(name), gpu)
    return _Run(
        arguments=arguments,
        settings=settings,
        variant=variant,
        ranks=ranks,
        model_name=name,
        material=load_material(settings),
        output_dir=(arguments.output_dir or Path("outputs") / variant.key).absolute(),
    )


def _check_trained(run: _Run) -> None:
    """Raise UserError where the folder holds no whole model, or not that of its last run."""
    folder, named = run.trained, run.arguments.predict_with is not None
    ended = None if named else run_state.unfinished(run.output_dir)
    owner = None if named else live_owner(run.output_dir, os.environ)
    if owner is not None:
        raise UserError(
            f"the run in {run.output_dir} is still running ({owner}), so its {FINAL_MODEL} is not "
            "there yet: wait for its end, or give --predict a model's folder."
        )
    if ended is not None:
        older = f"what lies in {FINAL_MODEL} is older: " if folder.is_dir() else ""
        raise UserError(
            f"the last run in {run.output_dir} {ended}, and {older or 'it left no model: '}finish it "
            "with --resume, or give --predict the folder of the model that you mean."
        )
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{folder} holds only an adapter: give --predict the {FINAL_MODEL} folder beside it, "
            "into which the adapter is merged."
        )
    if (folder / "latest").is_file() and not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} is a checkpoint, whose weights lie among the optimizer's states: export them "
            f"with `python {folder}/zero_to_fp32.py {folder} OUT --safe_serialization`, and put the "
            "config and the tokenizer of the model beside them."
        )
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds no model to predict with: train first, or give --predict a model's "
            "folder."
        )


def _prepare_process(run: _Run) -> None:
    """Set the environment before torch is imported."""
    _choose_gpus(run.arguments, run.ranks)
    prepare(os.environ, run.ranks, cores=usable_cores())
    forbid_network_for_local(run.model_name)
    quieten_warnings()
    quieten_transformers()


def _choose_gpus(arguments: Arguments, ranks: Ranks) -> None:
    gpus = visible_gpus(arguments, ranks, os.environ)
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus


def _train(run: _Run, start: resume.StartPoint) -> int:
    from berth_trainer.memory.apply import apply_plan
    from berth_trainer.model.hardware import detect_hardware
    from berth_trainer.training.session import Session  # imports torch

    config, hardware = load_config(run.model_name), detect_hardware(run.settings, os.environ)
    _check_devices(run, cuda=hardware.cuda)
    settings, decision = apply_plan(run.settings, config, hardware, run.ranks)
    start = resume.same_step(start, settings.training, run.ranks.world_size)
    start = resume.laid_out(start, settings.deepspeed.stage, hardware.precision)
    for note in start.notes:
        log0(note)
    if start.converted and start.checkpoint:
        # Before the first collective: it takes minutes.
        universal.convert(start.checkpoint, settings.deepspeed.stage)
    session = Session(
        settings=settings,
        decision=decision,
        variant=run.variant,
        ranks=run.ranks,
        output_dir=run.output_dir,
        model_name=run.model_name,
        config=config,
        hardware=hardware,
        max_steps=run.max_steps,
        description=run.description,
        asked_gpus=_asked_gpus(run.arguments),
    )

    def train() -> int:
        stopped = session.run(run.material, start)
        session.close()
        return STOPPED if stopped else 0

    return _guarded(train, replace(run, settings=settings))


def _check_devices(run: _Run, *, cuda: bool) -> None:
    import torch

    check_devices(
        run.arguments,
        run.ranks,
        cuda=cuda,
        seen=torch.cuda.device_count() if cuda else 0,
        any_gpu=not simulated(os.environ) and any(Path("/dev").glob("nvidia[0-9]*")),
    )


def _predict(run: _Run) -> int:
    from berth_trainer.training.prediction import predict  # imports torch

    predict(
        settings=run.settings,
        variant=run.variant,
        ranks=run.ranks,
        material=run.material,
        model=run.trained,
        output_dir=run.output_dir,
    )
    return 0


def _guarded(work: Callable[[], int], run: _Run) -> int:
    try:
        return work()
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever ends a run is reported here
        if run.ranks.world_size > 1:
            peers.wait_for_the_end(error)
        _report_failure(error, run.settings, run.ranks)
        if run.ranks.world_size > 1:
            leave(FAILED)  # at once: freeing what the error holds may already wait for other ranks
        return FAILED


def _asked_gpus(arguments: Arguments) -> int | None:
    """Return the number that the flags ask for, else the size of the lease in a Berth job."""
    uuids = [uuid for uuid in os.environ.get("BERTH_GPU_UUIDS", "").split(",") if uuid]
    return arguments.asked_gpus or len(uuids) or None


def _report_failure(error: Exception, settings: Settings, ranks: Ranks) -> None:
    failure = failures.diagnose(error, settings)
    if failure is None:
        tell("".join(traceback.format_exception(error)).rstrip())
        tell(f"rank {ranks.rank} failed: {type(error).__name__}.")
        return
    failures.note(failure, os.environ.get("BERTH_RUN_DIR"))
    tell(f"error (rank {ranks.rank}): {failure.sentence}")
