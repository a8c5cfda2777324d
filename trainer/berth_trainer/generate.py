"""Entry point `berth-generate`: answers of a trained model to the test split, with metrics."""

import sys
from collections.abc import Sequence

from berth_trainer.packages import require


def main(argv: Sequence[str] | None = None) -> int:
    """Run `train_deepspeed.py --predict`, with the same flags and exit codes."""
    require("berth-generate")
    # The program is on the PATH of environments without the trainer's packages too.
    from berth_trainer.training.application import main as run
    from berth_trainer.training.stop_signals import exit_on_interrupt

    words = list(sys.argv[1:] if argv is None else argv)
    predicting = any(word == "--predict" or word.startswith("--predict=") for word in words)
    exit_on_interrupt()
    return run(words if predicting else [*words, "--predict"], program="berth-generate")
