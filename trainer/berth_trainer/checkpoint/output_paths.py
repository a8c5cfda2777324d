"""Names of a run's output folders that more than one module uses."""

import os
from pathlib import Path

from berth_trainer.errors import UserError

PREFIX = "checkpoint-"
FINAL_MODEL = "final_model"
FINAL_ADAPTER = "final_adapter"


def make_writable(folder: Path) -> None:
    """Make the output folder before the run starts. Raises UserError where it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else "it is read-only for you"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise UserError(
            f"the output folder {folder} cannot be written ({why}): choose another with "
            "--output_dir."
        )
