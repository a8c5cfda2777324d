"""Imports of a run: nothing that it does not use."""

import json
import sys

import pytest

from berth_trainer.config.quick_start import UNUSED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MOST = 4300
"""Modules of a run without an adapter: 3,790 with torch 2.13, transformers 5.23, DeepSpeed 0.19.8."""
RUN = """
import sys
from berth_trainer.training.application import main
code = main(sys.argv[2:])
print("MODULES", sum(module is not None for module in sys.modules.values()))
print("IMPORTED", code, *sorted(set(sys.argv[1].split(",")) & {name.partition(".")[0] for name, module in sys.modules.items() if module}))
"""


@pytest.mark.parametrize(("lora", "used"), [({}, []), ({"r": 2}, ["peft"])])
def test_a_run_imports_no_package_that_it_does_not_use(
    launch, trainer_script, tuned, tmp_path, lora, used
):
    """Transformers imports what is installed: peft with half of itself, where no adapter is trained."""
    config = tuned(max_steps=1, eval_steps=0, save_steps=0, warmup_steps=0)
    document = json.loads(config.read_text())
    document["lora"] = lora
    config.write_text(json.dumps(document))
    names = ",".join(UNUSED)
    words = ["--config", str(config), "--output_dir", str(tmp_path / "out")]
    run = launch(
        [sys.executable, "-c", RUN, names, *words], cwd=tmp_path, log=tmp_path / "log",
        PYTHONPATH=str(trainer_script.parents[1]),
    )  # fmt: skip
    run.wait()
    told = next(line for line in run.read().splitlines() if line.startswith("MODULES"))
    assert int(told.split()[1]) < MOST + (500 if lora else 0)
    told = next(line for line in run.read().splitlines() if line.startswith("IMPORTED"))
    assert told.split()[1:] == ["0", *used], run.read()
