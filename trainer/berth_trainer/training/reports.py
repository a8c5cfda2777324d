"""Reports to TensorBoard and Weights & Biases, where the config file asks for them."""

import importlib.util
from collections.abc import MutableMapping
from pathlib import Path

from berth_trainer.config.settings import ReportSettings
from berth_trainer.errors import UserError


def prepare(
    settings: ReportSettings, environment: MutableMapping[str, str], output_dir: Path, *, run: str
) -> list[str]:
    """
    Return `report_to` for transformers; set the variables that say where to write.

    `run` is the name that W&B shows. Raises UserError where a package is missing.
    """
    wanted: list[str] = []
    if settings.tensorboard:
        _check("tensorboard", "report.tensorboard")
        environment["TENSORBOARD_LOGGING_DIR"] = str(output_dir / "tensorboard")
        wanted.append("tensorboard")
    if settings.wandb != "off":
        _check("wandb", "report.wandb")
        environment["WANDB_MODE"] = settings.wandb
        environment.setdefault("WANDB_DIR", str(output_dir))
        environment.setdefault("WANDB_PROJECT", "berth")
        environment.setdefault("WANDB_NAME", run)
        wanted.append("wandb")
    return wanted


def _check(package: str, key: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"{key} needs the package {package}: `pip install {package}` into the environment that "
            f"runs the trainer, or turn {key} off."
        )
