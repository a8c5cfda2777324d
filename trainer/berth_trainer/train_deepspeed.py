"""
Fine-tune a causal language model on persona dialogues: `python -m berth_trainer.train_deepspeed`.

The file also works when it is started by its path, as deepspeed, torchrun and accelerate do.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    _HERE = str(Path(__file__).resolve().parent)
    if sys.path and sys.path[0] and str(Path(sys.path[0]).resolve()) == _HERE:
        # Started by path: Python has put this folder first, whose modules (`metrics`, `data`)
        # would hide other packages of those names. The package's parent belongs there.
        sys.path[0] = str(Path(_HERE).parent)

    from berth_trainer.packages import require

    require(Path(sys.argv[0]).name)

    from berth_trainer.training.application import main
    from berth_trainer.training.ranks import leave
    from berth_trainer.training.stop_signals import exit_on_interrupt

    exit_on_interrupt()
    leave(main(program=sys.argv[0]))
