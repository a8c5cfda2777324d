"""The Python interpreter that a job runs in, and its environment."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from berth_worker.launch.error import LaunchError


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python with its environment."""

    path: str
    """The interpreter, as it was named: a virtual environment's link is not followed."""

    @property
    def bin_folder(self) -> str:
        """The folder of its `torchrun` and `deepspeed`."""
        return str(Path(self.path).parent)

    def variables(self) -> dict[str, str]:
        """Return the variables that activating its environment would set."""
        folder = Path(self.path).parent.parent
        if (folder / "pyvenv.cfg").exists():
            return {"VIRTUAL_ENV": str(folder)}
        if (folder / "conda-meta").is_dir():
            return {"CONDA_PREFIX": str(folder)}
        return {}


def resolve(python: str | None) -> Interpreter:
    """
    Return the interpreter that a job's `python` names; without one, Berth's own.

    Raises LaunchError.
    """
    if python is None:
        return Interpreter(sys.executable)
    path = Path(python).expanduser()
    if not path.is_absolute():
        found = shutil.which(python) if "/" not in python else None
        if found is None:
            raise LaunchError(
                f"'python' is {python}; give the full path of an interpreter or of an "
                "environment's folder."
            )
        return Interpreter(found)
    if path.is_dir():
        inside = path / "bin" / "python"
        if not inside.exists():
            raise LaunchError(
                f"The environment {python} has no bin/python; give the folder of a virtual or "
                "conda environment, or an interpreter."
            )
        return Interpreter(str(inside))
    if not path.exists():
        raise LaunchError(f"The interpreter {python} does not exist on this box; correct 'python'.")
    if not os.access(path, os.X_OK):
        raise LaunchError(f"The interpreter {python} may not be executed; correct 'python'.")
    return Interpreter(str(path))


@cache
def bundled_trainer() -> str | None:
    """Return the path of the trainer that comes with Berth; None where it is not installed."""
    # Only the folder is looked up: the worker must not import the trainer.
    spec = importlib.util.find_spec("berth_trainer")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        script = Path(folder) / "train_deepspeed.py"
        if script.exists():
            return str(script)
    return None
