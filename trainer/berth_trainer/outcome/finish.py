"""End of a run: the model saved, tested and checked, the results written, the outcome said."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from berth_trainer.checkpoint import disk_room, lineage, run_state
from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.checkpoint.output_paths import FINAL_ADAPTER, FINAL_MODEL
from berth_trainer.errors import RunError
from berth_trainer.model.lora import merge
from berth_trainer.outcome import saved_model
from berth_trainer.training.ranks import log0, warn
from berth_trainer.training.session_data import Data


def finish(
    session: Any,
    trainer: Any,
    data: Data,
    tokenizer: Any,
    *,
    parts: Sequence[lineage.Part],
    collate: Any,
) -> RunError | None:
    """
    Save what was trained, test it, check what was saved, and write `results.json`.

    Returns, on rank 0, how the run failed all the same: it diverged, or the saved model is not
    the trained one. The caller raises it once all ranks have left.
    """
    log_early_stop(session, trainer)
    results = _results(session, trainer, data, parts)
    final = session.output_dir / FINAL_MODEL
    items = saved_model.probe(
        *(cast("Any", one) for one in (data.test, data.validation, data.train))
    )
    trained = trainer.loss_of(items) if items else math.nan
    numbers = {"the test loss": results.get("test_loss"), "the loss": trained if items else None}
    lost = [name for name, value in numbers.items() if value is not None and not _finite(value)]
    if lost:
        sentence = (
            f"the run diverged: {lost[0]} is not a finite number at the end, so {FINAL_MODEL} was not "
            "written; lower training.learning_rate or raise training.warmup_steps."
        )
        return _failed(session, results, "diverged", sentence)
    if session.ranks.is_main and trainer.disk is not None:
        disk_room.make_room_for_model(trainer.disk, session.output_dir, trainer.saver.wait)
    name = FINAL_ADAPTER if session.settings.lora.r else FINAL_MODEL
    trainer.save_model(str(session.output_dir / name))
    if not session.ranks.is_main:
        return None
    _write_final_model(session, tokenizer)
    check = _check(session, final, items, trained, collate)
    results["final_model_check"] = {"trained_loss": check.trained, "saved_loss": check.saved}
    if not check.agrees(session.hardware.precision):
        sentence = (
            f"{final} is not the trained model: on {len(items)} samples its loss is "
            f"{check.saved:.4f}, and that of the model in training {check.trained:.4f}; use the "
            f"last checkpoint{' or ' + FINAL_ADAPTER if session.settings.lora.r else ''} instead."
        )
        return _failed(session, results, "failed", sentence)
    results["outcome"] = "finished"
    _say_what_was_learned(session, trainer, results)
    write_json(session.output_dir / "results.json", results)
    run_state.write(session.output_dir, "finished", step=trainer.state.global_step)
    log0(f"finished: the model is in {final}")
    return None


def log_early_stop(session: Any, trainer: Any) -> None:
    """Say where the run stopped early, and which checkpoint its model goes back to."""
    state, patience = trainer.state, session.settings.training.early_stopping_patience
    if not patience or state.global_step >= state.max_steps:
        return
    best = Path(state.best_model_checkpoint or "").name
    step = best.rpartition("-")[2]
    losses = {str(line["step"]): line["eval_loss"] for line in state.log_history if "eval_loss" in line}  # fmt: skip
    loss = losses.get(step, state.best_metric) or 0
    log0(
        f"stopped early at step {state.global_step} of {state.max_steps}: no lower evaluation "
        f"loss in {patience} evaluations. The model goes back to {best}, loss {loss:.4f}."
    )


def _results(
    session: Any, trainer: Any, data: Data, parts: Sequence[lineage.Part]
) -> dict[str, Any]:
    """Test, and return what `results.json` holds. A collective."""
    history: list[dict[str, Any]] = trainer.state.log_history
    results: dict[str, Any] = {
        "ablation": session.variant.key,
        "steps": trainer.state.global_step,
        "made_with": list(parts),
        "changed_on_the_way": lineage.changes(parts),
    }
    if len(data.test):
        tested = trainer.test(data.test)
        results |= {name: tested[name] for name in ("test_loss", "test_perplexity")}
        log0(
            f"test: loss {tested['test_loss']:.4f}, perplexity {tested['test_perplexity']:.2f} "
            f"over {tested['test_tokens']:,.0f} tokens"
        )
    evaluated = [line["eval_loss"] for line in history if _finite(line.get("eval_loss"))]
    if evaluated:
        results["best_eval_loss"] = min(evaluated)
    trained = [line["train_loss"] for line in history if "train_loss" in line]
    if trained:
        results["train_loss"] = trained[-1]
    return results


def _write_final_model(session: Any, tokenizer: Any) -> None:
    """Merge an adapter into the model, and put the tokenizer beside the weights."""
    final = session.output_dir / FINAL_MODEL
    if session.settings.lora.r:
        merge(
            session.output_dir / FINAL_ADAPTER,
            session.model_name,
            config=session.config,
            hardware=session.hardware,
            quantized=session.settings.lora.quantize == "4bit",
            into=final,
        )
    tokenizer.save_pretrained(str(final))


def _check(
    session: Any, final: Path, items: list[Any], trained: float, collate: Any
) -> saved_model.Check:
    if not items:
        return saved_model.Check(trained, None)
    precision = session.hardware.precision
    saved, why = saved_model.loss_of(final, items, collate=collate, precision=precision)
    if why:
        log0(f"{final} is not checked against the trained model: {why}.")
    return saved_model.Check(trained, saved, why)


def _say_what_was_learned(session: Any, trainer: Any, results: dict[str, Any]) -> None:
    """Warn where the run ends no better than it began: "finished" alone would hide it."""
    if not session.settings.training.learning_rate:
        results["outcome"] = "learned nothing"
        warn("nothing was learned: training.learning_rate is 0, so the model is the starting one.")
        return
    losses = [line["loss"] for line in trainer.state.log_history if _finite(line.get("loss"))]
    restored = trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint
    if len(losses) > 1 and not restored and losses[-1] > losses[0] + 1.0:
        results["outcome"] = "finished worse than it began"
        warn(
            f"the loss ends at {losses[-1]:.2f} and began at {losses[0]:.2f}: the model is worse than "
            "it was; lower training.learning_rate."
        )


def _failed(
    session: Any, results: dict[str, Any], state: run_state.State, sentence: str
) -> RunError | None:
    """Write the results of a run that failed at its end; return what to raise, on rank 0."""
    if not session.ranks.is_main:
        return None
    results |= {"outcome": state, "problem": sentence}
    write_json(session.output_dir / "results.json", results)
    run_state.write(session.output_dir, state, step=results["steps"])
    return RunError(sentence)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
