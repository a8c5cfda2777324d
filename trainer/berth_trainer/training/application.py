"""One run from flags to final model."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from berth_trainer.checkpoint import resume, universal
from berth_trainer.checkpoint.output_paths import FINAL_MODEL, make_writable
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
from berth_trainer.config.launch_check import check_launch, single_gpu
from berth_trainer.config.settings import Settings
from berth_trainer.data import prompt_variants
from berth_trainer.data.load import Material, load_material
from berth_trainer.errors import UserError
from berth_trainer.model.loading import forbid_network_for_local, load_config, model_name
from berth_trainer.training import failures
from berth_trainer.training.ranks import Ranks, ranks_from, warn

FAILED, STOPPED = 1, 143


def main(argv: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """
    Run and return the exit code: 0 done, 1 failed, 2 bad input, 143 stopped and saved.

    `program` is what the user typed to reach this, for sentences that say what to type.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    ranks = ranks_from(os.environ)
    if simulated(os.environ):
        share_the_cpu_as_equals()
    try:
        return _run(words, ranks, program or "train_deepspeed.py")
    except UserError as problem:
        if ranks.is_main:
            print(f"error: {problem.sentence}", file=sys.stderr, flush=True)
            # Launchers end a log with words of their own; the queue is told the reason itself.
            failures.note(
                failures.Failure("exit", problem.sentence), os.environ.get("BERTH_RUN_DIR")
            )
        elif ranks.world_size > 1:
            # A launcher kills all ranks as soon as one has left: rank 0 shall speak before that.
            time.sleep(10)
        return problem.exit_code


def _run(words: list[str], ranks: Ranks, program: str) -> int:
    # What needs no torch comes first: a typo is answered in a tenth of a second.
    arguments = parse_arguments(words)
    settings = read_settings(arguments.config)
    for text in settings.warnings:
        warn(text)
    variant = prompt_variants.choose(arguments.ablation_config, settings.prompt_variants)
    check_launch(arguments, ranks, [program, *words])
    name = model_name(settings)
    material = load_material(settings)
    output_dir = (arguments.output_dir or Path("outputs") / variant.key).absolute()
    trained = arguments.predict_with or output_dir / FINAL_MODEL
    if arguments.predict and (trained / "adapter_config.json").is_file():
        raise UserError(
            f"{trained} is an adapter alone: give --predict the {FINAL_MODEL} folder beside it, "
            "which has it worked in."
        )
    if arguments.predict and not (trained / "config.json").is_file():
        raise UserError(
            f"{trained} holds no model to predict with: train first, or give --predict a model's "
            "folder."
        )
    make_writable(output_dir)
    start = resume.StartPoint(None, ())
    if not arguments.predict:
        start = resume.decide(
            arguments,
            output_dir,
            attempt=os.environ.get("BERTH_ATTEMPT"),
            world_size=ranks.world_size,
        )
    card = single_gpu(arguments, ranks, os.environ)
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    prepare(os.environ, ranks, cores=usable_cores())
    forbid_network_for_local(name)
    quieten_warnings()
    quieten_transformers()
    if arguments.predict:
        return _guarded(
            lambda: _predict(settings, variant, ranks, material, trained, output_dir),
            settings,
            ranks,
        )
    if start.converted and start.checkpoint:
        universal.convert(start.checkpoint)  # before the ranks meet: it takes its time
    from berth_trainer.memory import apply
    from berth_trainer.model.hardware import detect_hardware
    from berth_trainer.training.session import Session  # imports torch

    config, hardware = load_config(name), detect_hardware(settings, os.environ)
    settings, decision = apply.apply_plan(settings, config, hardware, ranks)
    start = resume.same_step(start, settings.training, ranks.world_size)
    session = Session(
        settings=settings,
        decision=decision,
        variant=variant,
        ranks=ranks,
        output_dir=output_dir,
        model_name=name,
        config=config,
        hardware=hardware,
        max_steps=arguments.max_steps or settings.training.max_steps,
        asked_gpus=_asked_gpus(arguments),
    )

    def train() -> int:
        stopped = session.run(material, start)
        session.close()
        return STOPPED if stopped else 0

    return _guarded(train, settings, ranks)


def _predict(
    settings: Settings,
    variant: prompt_variants.PromptVariant,
    ranks: Ranks,
    material: Material,
    trained: Path,
    output_dir: Path,
) -> int:
    from berth_trainer.training.prediction import predict  # imports torch

    predict(
        settings=settings,
        variant=variant,
        ranks=ranks,
        material=material,
        model=trained,
        output_dir=output_dir,
    )
    return 0


def _guarded(work: Callable[[], int], settings: Settings, ranks: Ranks) -> int:
    try:
        return work()
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever ends a run is reported here, then leaves
        _report_failure(error, settings, ranks)
        if ranks.world_size > 1:
            leave(FAILED)  # here: freeing what the error holds may already wait for other ranks
        return FAILED


def _asked_gpus(arguments: Arguments) -> int | None:
    """The flags' number, else the size of the lease where this is a job of the queue."""
    uuids = [uuid for uuid in os.environ.get("BERTH_GPU_UUIDS", "").split(",") if uuid]
    return arguments.asked_gpus or len(uuids) or None


def _report_failure(error: Exception, settings: Settings, ranks: Ranks) -> None:
    failure = failures.diagnose(error, settings)
    if failure is None:
        traceback.print_exception(error)
        print(f"rank {ranks.rank} failed: {type(error).__name__}.", file=sys.stderr, flush=True)
        return
    failures.note(failure, os.environ.get("BERTH_RUN_DIR"))
    print(f"error (rank {ranks.rank}): {failure.sentence}", file=sys.stderr, flush=True)


def leave(code: int) -> NoReturn:
    """
    End the process at once.

    An orderly end of the interpreter would wait for ranks that wait for this one, and with
    torch's groups still open it can end in an abort, which turns any code into a crash.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
