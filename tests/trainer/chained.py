"""
Runs of the trainer for what one import of torch costs: a process that waits for them.

Each line on stdin is a run as JSON: its `argv`, the `log` to write, and `env` to add. It is forked
once everything is imported; its exit code is the line on stdout.
"""

import json
import os
import sys


def main():
    import deepspeed  # noqa: F401

    from berth_trainer.memory import apply  # noqa: F401
    from berth_trainer.training import persona_trainer, prediction, session  # noqa: F401
    from berth_trainer.training.application import main as train
    from berth_trainer.training.ranks import leave

    for line in sys.stdin:
        run = json.loads(line)
        child = os.fork()
        if not child:
            log = os.open(run["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update(run["env"])
            spoil_what_is_saved(os.environ.get("BERTH_TEST_SPOIL"))
            stop_in_step(int(os.environ.get("BERTH_TEST_TERM_AT", "0")))
            leave(train(run["argv"], program="train_deepspeed.py"))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"exit code {code}", flush=True)


def spoil_what_is_saved(weight):
    """Let save_model write zeros for this weight: a fault of any library on the way to the disk."""
    if not weight:
        return
    from safetensors.torch import load_file, save_file

    from berth_trainer.training.persona_trainer import PersonaTrainer

    save = PersonaTrainer.save_model

    def spoiled(self, folder, *rest, **more):
        save(self, folder, *rest, **more)
        file = f"{folder}/model.safetensors"
        found = load_file(file)
        found[weight] = found[weight] * 0
        save_file(found, file, metadata={"format": "pt"})

    PersonaTrainer.save_model = spoiled


def stop_in_step(number):
    """Send SIGTERM in the midst of a step, as a queue or a user does; 0: in none."""
    if not number:
        return
    import signal

    from berth_trainer.training.persona_trainer import PersonaTrainer

    step = PersonaTrainer.training_step

    def stopped(self, *given, **named):
        if self.state.global_step == number - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *given, **named)

    PersonaTrainer.training_step = stopped


if __name__ == "__main__":
    main()
